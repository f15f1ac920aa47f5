//! The text of a label selector, read token by token: the grammar and the words of upstream's parser.
//!
//! ```text
//! selector    ::= [ requirement { "," requirement } ]
//! requirement ::= [ "!" ] KEY | KEY ( "=" | "==" | "!=" | ">" | "<" ) [ VALUE ] | KEY ( "in" | "notin" ) "(" values ")"
//! ```

use super::rules::{broken_by_key, broken_by_value};
use super::{InvalidSelector, Requirement};

/// What a selector is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    End,
    Symbol(&'a str),
    /// A key, a value, or the words `in` and `notin`.
    Word(&'a str),
}

impl<'a> Token<'a> {
    const fn text(self) -> &'a str {
        match self {
            Self::End => "",
            Self::Symbol(text) | Self::Word(text) => text,
        }
    }

    fn is(self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(text) if text == symbol)
    }
}

const SYMBOLS: [char; 7] = ['=', '!', '(', ')', ',', '>', '<'];
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// The text that is left to be read.
struct Parser<'a> {
    rest: &'a str,
}

/// Reads the requirements of a selector, in the order in which they are written.
pub(super) fn parse(text: &str) -> Result<Vec<Requirement>, InvalidSelector> {
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    loop {
        match parser.peek() {
            Token::End => return Ok(requirements),
            token if token.is("!") || matches!(token, Token::Word(_)) => {
                let requirement = parser.requirement();
                requirements
                    .push(requirement.map_err(|why| InvalidSelector(format!("unable to parse requirement: {why}")))?);
            }
            token => return Err(found(token, " expected: !, identifier, or 'end of string'")),
        }
        match parser.next() {
            Token::End => return Ok(requirements),
            token if token.is(",") => {
                let next = parser.peek();
                if !next.is("!") && !matches!(next, Token::Word(_)) {
                    return Err(found(next, " expected: identifier after ','"));
                }
            }
            token => return Err(found(token, " expected: ',' or 'end of string'")),
        }
    }
}

fn found(token: Token<'_>, expected: &str) -> InvalidSelector {
    InvalidSelector(unexpected(token, expected))
}

fn unexpected(token: Token<'_>, expected: &str) -> String {
    format!("found '{}',{expected}", token.text())
}

impl<'a> Parser<'a> {
    /// The next token, left where it is.
    fn peek(&self) -> Token<'a> {
        Parser { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start_matches(SPACES);
        let length = match self.rest.chars().next() {
            None | Some('\0') => return Token::End,
            Some(first) if SYMBOLS.contains(&first) => {
                let double = self.rest.starts_with("!=") || self.rest.starts_with("==");
                if double { 2 } else { 1 }
            }
            Some(_) => {
                let ends = |c: char| c == '\0' || SYMBOLS.contains(&c) || SPACES.contains(&c);
                let word = self.rest.split(ends).next().unwrap_or_default();
                self.rest = self.rest.strip_prefix(word).unwrap_or_default();
                return Token::Word(word);
            }
        };
        let (symbol, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        Token::Symbol(symbol)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let mut token = self.next();
        let negated = token.is("!");
        if negated {
            token = self.next();
        }
        let Token::Word(key) = token else { return Err(unexpected(token, " expected: identifier")) };
        let broken = broken_by_key(key);
        if !broken.is_empty() {
            return Err(invalid("<nil>", key, &broken.join("; ")));
        }
        let key = key.to_owned();
        if negated {
            return Ok(Requirement::DoesNotExist(key));
        }
        let next = self.peek();
        if next == Token::End || next.is(",") {
            return Ok(Requirement::Exists(key));
        }
        match self.next() {
            Token::Word("in") => Ok(Requirement::In(key.clone(), checked(&key, self.set()?, Vec::new())?)),
            Token::Word("notin") => Ok(Requirement::NotIn(key.clone(), checked(&key, self.set()?, Vec::new())?)),
            Token::Symbol("=" | "==") => Ok(Requirement::Equals(key.clone(), self.value(&key)?)),
            Token::Symbol("!=") => Ok(Requirement::NotEquals(key.clone(), self.value(&key)?)),
            Token::Symbol(">") => Ok(Requirement::GreaterThan(key.clone(), self.bound(&key)?)),
            Token::Symbol("<") => Ok(Requirement::LessThan(key.clone(), self.bound(&key)?)),
            token => Err(unexpected(token, " expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    /// The one value of `=` and its like, which may be absent.
    fn exact(&mut self) -> Result<&'a str, String> {
        let next = self.peek();
        if next == Token::End || next.is(",") {
            return Ok("");
        }
        match self.next() {
            Token::Word(value) => Ok(value),
            token => Err(unexpected(token, " expected: identifier")),
        }
    }

    fn value(&mut self, key: &str) -> Result<String, String> {
        let value = self.exact()?.to_owned();
        Ok(checked(key, vec![value], Vec::new())?.pop().unwrap_or_default())
    }

    fn bound(&mut self, key: &str) -> Result<i64, String> {
        let text = self.exact()?;
        let number = text.parse::<i64>();
        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
        let errors = if number.is_ok() { Vec::new() } else { vec![invalid("values[0]", text, detail)] };
        checked(key, vec![text.to_owned()], errors)?;
        Ok(number.unwrap_or_default())
    }

    /// `(a,b)`: values that may be empty, sorted, each once.
    fn set(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if !open.is("(") {
            // Upstream leaves out the comma here.
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = std::collections::BTreeSet::new();
        let first = self.peek();
        if !matches!(first, Token::Word(_)) && !first.is(",") && !first.is(")") {
            return Err(unexpected(first, " expected: ',', ')' or identifier"));
        }
        let mut value = String::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    word.clone_into(&mut value);
                    let next = self.peek();
                    if !next.is(",") && !next.is(")") {
                        return Err(unexpected(next, " expected: ',' or ')'"));
                    }
                }
                Token::Symbol(",") => {
                    values.insert(std::mem::take(&mut value));
                }
                Token::Symbol(")") => {
                    values.insert(value);
                    return Ok(values.into_iter().collect());
                }
                token => return Err(unexpected(token, " expected: ',', or identifier")),
            }
        }
    }
}

/// The values, if each may be a label's; what is wrong with them is added to what is known to be wrong.
fn checked(key: &str, values: Vec<String>, mut errors: Vec<String>) -> Result<Vec<String>, String> {
    for (index, value) in values.iter().enumerate() {
        let broken = broken_by_value(value);
        if !broken.is_empty() {
            errors.push(invalid(&format!("values[{index}][{key}]"), value, &broken.join("; ")));
        }
    }
    match errors.as_slice() {
        [] => Ok(values),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

fn invalid(path: &str, value: &str, detail: &str) -> String {
    format!("{path}: Invalid value: {value:?}: {detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text).map_or_else(|error| error.0, |read| format!("{read:?}"))
    }

    #[test]
    fn what_does_not_parse_is_refused_in_upstreams_words() {
        for (text, expected) in [
            ("n==a,=", "found '=', expected: identifier after ','"),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("n in a", "unable to parse requirement: found 'a' expected: '('"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("x=a b", "found 'b', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
            ("a in (b,=)", "unable to parse requirement: found '=', expected: ',', or identifier"),
            ("a==(", "unable to parse requirement: found '(', expected: identifier"),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
        let number = "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer";
        assert_eq!(refusal("odd>x"), number);
        assert!(refusal("-x=1").starts_with("unable to parse requirement: <nil>: Invalid value: \"-x\": name part"));
        let value = "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be";
        assert!(refusal("a=-").starts_with(value));
        assert!(refusal("a>-").starts_with("unable to parse requirement: [values[0]: Invalid value"));
    }

    #[test]
    fn sets_may_hold_nothing_and_keywords() {
        let values = |text: &str| match parse(text).unwrap_or_default().pop() {
            Some(Requirement::In(_, values)) => values,
            other => vec![format!("{other:?}")],
        };
        assert_eq!(values("a in ()"), [""]);
        assert_eq!(values("a in (,)"), [""]);
        assert_eq!(values("a in (c,,b)"), ["", "b", "c"]);
        assert_eq!(values("a in (in, notin)"), ["in", "notin"]);
        assert_eq!(values("in in (b)"), ["b"]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_reads_the_same(text in "([a-c!=<>(), ]|in|notin|a/b|[0-9]|-){0,16}") {
            if let Ok(read) = crate::selector::Selector::parse(&text) {
                let again = crate::selector::Selector::parse(&read.to_string());
                proptest::prop_assert_eq!(again, Ok(read), "{}", text);
            }
        }

        #[test]
        fn no_text_makes_it_fail_otherwise_than_by_an_error(text: String) {
            let _ = parse(&text);
        }
    }
}
