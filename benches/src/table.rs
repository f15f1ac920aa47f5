//! A small table on standard output, columns set wide enough.
//!
//! Invariant: a row has as many cells as there are headings.

/// Rows under headings.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[String]) {
        assert_eq!(cells.len(), self.rows[0].len(), "as many cells as headings");
        self.rows.push(cells.to_vec());
    }

    /// Prints it, with a title.
    #[expect(clippy::print_stdout, reason = "what a bench finds is its output")]
    pub fn print(&self, title: &str) {
        println!("{title}\n{self}");
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).enumerate();
            // Names to the left, figures to the right.
            let set = cells.map(|(at, (c, w))| if at == 0 { format!("{c:<w$}") } else { format!("{c:>w$}") });
            writeln!(f, "  {}", set.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["what", "ms"]);
        table.row(&["start".to_owned(), "12.5".to_owned()]);
        assert_eq!(table.to_string(), "  what     ms\n  start  12.5\n");
    }
}
