//! Schedules in cron's form: five fields, or a word for a common one. Here they are only read, not followed.
//!
//! Source of the words: `github.com/robfig/cron/v3`, which upstream reads them with.

use coracle_api::field::FieldError;

use crate::registry::check::Errors;

const PATH: &str = "spec.schedule";
const ZONE: &str = "spec.timeZone";

/// Words for common schedules.
const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// A field: its least and greatest number, and names for its numbers from the least on.
type Field = (u32, u32, &'static [&'static str]);

const FIELDS: [Field; 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    (0, 6, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
];

/// The rules for a schedule and its time zone.
pub(super) fn validate(errors: &mut Errors, schedule: &str, zone: Option<&str>) {
    if schedule.is_empty() {
        errors.push(FieldError::required(PATH, ""));
    } else {
        if schedule.contains("TZ") {
            let detail = match zone {
                Some(_) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
                None => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            };
            errors.push(FieldError::invalid(PATH, schedule, detail));
        } else if let Err(detail) = read(schedule) {
            errors.push(FieldError::invalid(PATH, schedule, detail));
        }
    }
    if let Some(name) = zone {
        validate_zone(errors, name);
    }
}

fn validate_zone(errors: &mut Errors, name: &str) {
    let detail = if name.is_empty() {
        "timeZone must be nil or non-empty string".to_owned()
    } else if name.eq_ignore_ascii_case("Local") {
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
    } else if jiff::tz::TimeZone::get(name).is_err() {
        format!("unknown time zone {name}")
    } else {
        return;
    };
    errors.push(FieldError::invalid(ZONE, name, detail));
}

fn read(schedule: &str) -> Result<(), String> {
    if let Some(word) = schedule.strip_prefix('@') {
        return match word.strip_prefix("every ") {
            Some(every) if is_duration(every) => Ok(()),
            Some(every) => Err(format!("failed to parse duration {schedule}: time: invalid duration {every:?}")),
            None if WORDS.contains(&schedule) => Ok(()),
            None => Err(format!("unrecognized descriptor: {schedule}")),
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let (wanted, found) = (FIELDS.len(), fields.len());
        return Err(format!("expected exactly {wanted} fields, found {found}: [{}]", fields.join(" ")));
    }
    let parts = fields.iter().zip(FIELDS).flat_map(|(text, field)| text.split(',').map(move |part| (part, field)));
    parts.filter(|(part, _)| !part.is_empty()).try_for_each(|(part, field)| range(part, field))
}

/// `number | number "-" number [ "/" number ] | "*"`.
fn range(text: &str, (least, greatest, names): Field) -> Result<(), String> {
    let (span, step) = text.split_once('/').map_or((text, None), |(span, step)| (span, Some(step)));
    let mut ends = span.split('-');
    let (first, last) = (ends.next().unwrap_or_default(), ends.next());
    let all = matches!(first, "*" | "?");
    let (start, mut end) = if all {
        (least, greatest)
    } else {
        if ends.next().is_some() {
            return Err(format!("too many hyphens: {text}"));
        }
        let start = number(first, least, names)?;
        (start, last.map_or(Ok(start), |last| number(last, least, names))?)
    };
    match step {
        Some(step) if step.contains('/') => return Err(format!("too many slashes: {text}")),
        Some(step) => {
            if number(step, 0, &[])? == 0 {
                return Err(format!("step of range should be a positive number: {text}"));
            }
            if !all && last.is_none() {
                end = greatest;
            }
        }
        None => {}
    }
    if start < least {
        return Err(format!("beginning of range ({start}) below minimum ({least}): {text}"));
    }
    if end > greatest {
        return Err(format!("end of range ({end}) above maximum ({greatest}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    Ok(())
}

fn number(text: &str, least: u32, names: &[&str]) -> Result<u32, String> {
    if let Some(place) = names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(least + u32::try_from(place).unwrap_or(0));
    }
    match text.parse::<i64>() {
        Ok(number) if number < 0 => Err(format!("negative number ({number}) not allowed: {text}")),
        Ok(number) => Ok(u32::try_from(number).unwrap_or(u32::MAX)),
        Err(_) => Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")),
    }
}

/// A duration as Go writes it: `1h30m`, `1.5h`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        if digits.len() == rest.len() {
            return rest == "0";
        }
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .filter_map(|unit| digits.strip_prefix(unit))
            .min_by_key(|r| r.len());
        let Some(after) = unit else { return text == "0" };
        rest = after;
        parts += 1;
    }
    parts > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(schedule: &str, zone: Option<&str>) -> String {
        let mut errors = Vec::new();
        validate(&mut errors, schedule, zone);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        for good in ["* * * * *", "*/5 0-6 1,15 jan-mar MON", "@hourly", "@every 1h30m", "0 0 1/2 * ?", "59 23 31 12 6"]
        {
            assert_eq!(told(good, Some("UTC")), "", "{good}");
        }
        let bad = [
            "x",
            "60 * * * *",
            "* * 0 * *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "1-2-3 * * * *",
            "@often",
            "@every x",
            "-1 * * * *",
        ];
        expect_test::expect![[r#"
            spec.schedule: Invalid value: "x": expected exactly 5 fields, found 1: [x]
            spec.schedule: Invalid value: "60 * * * *": end of range (60) above maximum (59): 60
            spec.schedule: Invalid value: "* * 0 * *": beginning of range (0) below minimum (1): 0
            spec.schedule: Invalid value: "* * * * 7": end of range (7) above maximum (6): 7
            spec.schedule: Invalid value: "5-1 * * * *": beginning of range (5) beyond end of range (1): 5-1
            spec.schedule: Invalid value: "*/0 * * * *": step of range should be a positive number: */0
            spec.schedule: Invalid value: "a * * * *": failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax
            spec.schedule: Invalid value: "1-2-3 * * * *": too many hyphens: 1-2-3
            spec.schedule: Invalid value: "@often": unrecognized descriptor: @often
            spec.schedule: Invalid value: "@every x": failed to parse duration @every x: time: invalid duration "x"
            spec.schedule: Invalid value: "-1 * * * *": failed to parse int from : strconv.Atoi: parsing "": invalid syntax"#]]
        .assert_eq(&bad.map(|schedule| told(schedule, None)).join("\n"));
    }

    #[test]
    fn a_time_zone_is_named_in_its_own_field() {
        assert_eq!(
            told("TZ=UTC * * * * *", None),
            r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#
        );
        assert_eq!(
            told("* * * * *", Some("Nope/Zone")),
            r#"spec.timeZone: Invalid value: "Nope/Zone": unknown time zone Nope/Zone"#
        );
        assert_eq!(told("* * * * *", Some("Europe/Berlin")), "");
    }
}
