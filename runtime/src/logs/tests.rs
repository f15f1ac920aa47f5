//! Logs on a directory of their own: written as guests write, read as `kubectl logs` reads.

use futures::StreamExt;

use super::*;
use coracle_wasm::Sink;

fn place() -> Place {
    Place { namespace: "ns".into(), pod: "p".into(), uid: "u".into(), container: "c".into() }
}

async fn shown(logs: &Logs, run: u32, options: Options) -> String {
    let live = logs.live(&place());
    let pieces: Vec<_> = read(&logs.dir(&place()), run, live.as_ref(), options).unwrap().collect().await;
    pieces.into_iter().map(|p| String::from_utf8(p.unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn lines_are_kept_whole_whatever_the_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation::default());
    let log = logs.begin(&place(), 0).unwrap();
    let (out, err) = (Output::stdout(&log), Output::stderr(&log));
    out.write(b"hel");
    err.write(b"oops\n");
    out.write(b"lo\nwor");
    out.write(b"ld\n\nend");
    assert_eq!(shown(&logs, 0, Options::default()).await, "oops\nhello\nworld\n\n");
    logs.end(&place(), &log);
    assert_eq!(shown(&logs, 0, Options::default()).await, "oops\nhello\nworld\n\nend");
    assert_eq!(shown(&logs, 0, Options { tail: Some(2), ..Options::default() }).await, "\nend");
    assert_eq!(shown(&logs, 0, Options { tail: Some(0), ..Options::default() }).await, "");
    assert_eq!(shown(&logs, 0, Options { tail: Some(99), limit: Some(7), ..Options::default() }).await, "oops\nhe");
    let later = coracle_api::clock::now().checked_add(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(shown(&logs, 0, Options { since: Some(later), ..Options::default() }).await, "");
    let timed = shown(&logs, 0, Options { timestamps: true, tail: Some(1), ..Options::default() }).await;
    let (time, text) = timed.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && text == "end", "{timed}");
}

#[tokio::test]
async fn who_only_looks_at_a_quiet_log_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path().join("logs"), Rotation::default());
    let log = logs.begin(&place(), 0).unwrap();
    assert_eq!(shown(&logs, 0, Options::default()).await, "");
    assert_eq!(shown(&logs, 0, Options { tail: Some(3), ..Options::default() }).await, "");
    assert!(!dir.path().join("logs").exists());
    logs.end(&place(), &log);
}

#[tokio::test]
async fn a_long_line_is_cut_in_the_file_and_whole_for_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation::default());
    let log = logs.begin(&place(), 0).unwrap();
    let line = "x".repeat(100_000);
    Output::stdout(&log).write(format!("{line}\nnext\n").as_bytes());
    logs.end(&place(), &log);
    assert_eq!(shown(&logs, 0, Options::default()).await, format!("{line}\nnext\n"));
    let raw = std::fs::read_to_string(logs.dir(&place()).join("0.log")).unwrap();
    assert_eq!(raw.lines().filter(|l| l.contains(" stdout P ")).count(), 6);
}

#[tokio::test]
async fn rotation_keeps_the_newest_files_and_a_reader_sees_them_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation { max_bytes: 400, max_files: 3 });
    let log = logs.begin(&place(), 0).unwrap();
    let out = Output::stdout(&log);
    for n in 0..40 {
        out.write(format!("line {n}\n").as_bytes());
        log.flush();
    }
    logs.end(&place(), &log);
    assert_eq!(std::fs::read_dir(logs.dir(&place())).unwrap().count(), 3);
    let text = shown(&logs, 0, Options::default()).await;
    assert!(text.ends_with("line 38\nline 39\n"), "{text}");
    let tail = shown(&logs, 0, Options { tail: Some(12), ..Options::default() }).await;
    assert!(tail.starts_with("line 28\n") && tail.ends_with("line 39\n"), "{tail}");
}

#[tokio::test(start_paused = true)]
async fn following_sees_every_line_across_rotations_and_ends_with_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation { max_bytes: 400, max_files: 5 });
    let log = logs.begin(&place(), 0).unwrap();
    let options = Options { follow: true, ..Options::default() };
    let reading = shown(&logs, 0, options);
    let writing = async {
        let out = Output::stdout(&log);
        for n in 0..30 {
            out.write(format!("line {n}\n").as_bytes());
            log.flush();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        logs.end(&place(), &log);
    };
    let (text, ()) = tokio::join!(reading, writing);
    let expected: String = (0..30).map(|n| format!("line {n}\n")).collect();
    assert_eq!(text, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_printed_is_written_soon_even_without_the_end_of_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation::default());
    let log = logs.begin(&place(), 0).unwrap();
    Output::stdout(&log).write(b"line\nname? ");
    let soon = tokio::time::timeout(std::time::Duration::from_secs(1), log.write_behind());
    assert!(soon.await.is_err());
    let raw = std::fs::read_to_string(logs.dir(&place()).join("0.log")).unwrap();
    assert!(raw.contains(" stdout F line\n") && raw.contains(" stdout P name? \n"), "{raw}");
}

#[tokio::test]
async fn a_flood_has_to_wait_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation { max_bytes: 1 << 30, max_files: 2 });
    let log = logs.begin(&place(), 0).unwrap();
    let out = Output::stdout(&log);
    let line = [[b'x'; 8191].as_slice(), b"\n"].concat();
    let mut lines = 0;
    while out.wait().is_none() {
        out.write(&line);
        lines += 1;
    }
    assert!(lines >= 32 * 128, "it may print 32 MiB at once, and printed {lines} times 8 KiB");
    // Whoever does not wait owes for it.
    for _ in 0..2048 {
        out.write(&line);
    }
    assert!(out.wait().is_some_and(|wait| wait > std::time::Duration::from_secs(1)), "{:?}", out.wait());
    logs.end(&place(), &log);
    let raw = std::fs::read_to_string(logs.dir(&place()).join("0.log")).unwrap();
    assert_eq!(raw.lines().count(), lines + 2048);
}

#[test]
fn only_the_previous_run_is_kept_and_pods_that_are_gone_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation::default());
    for run in 0..4 {
        let log = logs.begin(&place(), run).unwrap();
        Output::stdout(&log).write(b"a line\n");
        logs.end(&place(), &log);
    }
    let mut names: Vec<_> =
        std::fs::read_dir(logs.dir(&place())).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["2.log", "3.log"]);
    logs.sweep(|uid| uid == "u");
    assert!(logs.dir(&place()).exists());
    logs.sweep(|_| false);
    assert!(!logs.dir(&place()).exists());
}

#[tokio::test]
async fn a_quiet_container_has_no_file_until_somebody_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation::default());
    let log = logs.begin(&place(), 0).unwrap();
    assert_eq!(shown(&logs, 0, Options::default()).await, "");
    let followed = read(&logs.dir(&place()), 0, Some(&log), Options { follow: true, ..Options::default() }).unwrap();
    Output::stdout(&log).write(b"a line\n");
    logs.end(&place(), &log);
    let followed: Vec<_> = followed.map(|bytes| bytes.unwrap()).collect().await;
    assert_eq!(followed.concat(), b"a line\n");
    logs.begin(&place(), 1).unwrap();
    assert_eq!(shown(&logs, 1, Options::default()).await, "", "it printed nothing in this run");
}

#[tokio::test]
async fn a_reader_that_rotations_have_overtaken_goes_on_with_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path(), Rotation { max_bytes: 400, max_files: 3 });
    let log = logs.begin(&place(), 0).unwrap();
    let out = Output::stdout(&log);
    out.write(b"line 0\n");
    let options = Options { follow: true, ..Options::default() };
    let reading = read(&logs.dir(&place()), 0, Some(&log), options).unwrap();
    for n in 1..200 {
        out.write(format!("line {n}\n").as_bytes());
        log.flush();
    }
    logs.end(&place(), &log);
    let pieces: Vec<_> = reading.map(|piece| piece.unwrap()).collect().await;
    let text = String::from_utf8(pieces.concat()).unwrap();
    let numbers: Vec<u32> = text.lines().map(|line| line.trim_start_matches("line ").parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "none twice: {numbers:?}");
    assert_eq!((numbers.first(), numbers.last()), (Some(&0), Some(&199)), "from where it was to the end");
}
