//! The tools over hostile trees and archives.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use ::tar::{Builder, EntryType, Header};
use coracle_wasm::{Access, Directory};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::console::{ROOM_BYTES, pipe};

/// A container with `/`, a volume at `/data`, and one that is read-only at `/fixed`. Beside them is a secret.
struct Sandbox {
    dir: tempfile::TempDir,
}

struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root/data", "root/fixed", "data", "fixed", "outside"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        std::fs::write(dir.path().join("fixed/k"), "v").unwrap();
        Self { dir }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn directories(&self) -> Vec<Directory> {
        let given = [
            ("/", "root", Access::ReadWrite),
            ("/data", "data", Access::ReadWrite),
            ("/fixed", "fixed", Access::ReadOnly),
        ];
        let directory = |(guest, host, access): (&str, &str, Access)| Directory::new(guest, self.at(host), access);
        given.map(directory).into()
    }

    async fn run(&self, line: &str, stdin: Vec<u8>) -> Ended {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let tool = Tool::named(&args[0], "own").unwrap();
        let ((out, mut out_reader), (err, mut err_reader)) = (pipe(ROOM_BYTES), pipe(ROOM_BYTES));
        let (tree, handle, given_up) =
            (Tree::open(&self.directories(), None).unwrap(), Handle::current(), CancellationToken::new());
        let env = vec![("A".to_owned(), "b".to_owned())];
        let writer = |pipe: &Arc<Pipe>| Writer::new(Arc::clone(pipe), handle.clone(), given_up.clone());
        let (stdout, stderr) = (writer(&out), writer(&err));
        let stdin = Reader::new(Some(Box::new(io::Cursor::new(stdin))), handle, given_up);
        let work = tokio::task::spawn_blocking(move || {
            let code = Bench { args, env, tree, stdin, stdout, stderr }.work(tool);
            out.close();
            err.close();
            code
        });
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        let (code, ..) = tokio::join!(work, async { out_reader.read_to_end(&mut stdout).await.unwrap() }, async {
            err_reader.read_to_string(&mut stderr).await.unwrap()
        });
        Ended { code: code.unwrap(), stdout, stderr }
    }

    /// Runs a tool and shows all that came of it.
    async fn check(&self, line: &str, expected: Expect) {
        let Ended { code, stdout, stderr } = self.run(line, Vec::new()).await;
        expected.assert_eq(&format!("{}{stderr}[{code}]", String::from_utf8_lossy(&stdout)));
    }

    /// Everything below a directory, links as they are written.
    fn all(&self, below: &str) -> Vec<String> {
        let mut waiting = vec![self.at(below)];
        let mut all = Vec::new();
        while let Some(path) = waiting.pop() {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.at(below)).unwrap().display().to_string();
                let found = path.symlink_metadata().unwrap();
                if found.is_symlink() {
                    all.push(format!("{name} -> {}", path.read_link().unwrap().display()));
                } else if found.is_dir() {
                    all.push(format!("{name}/"));
                    waiting.push(path);
                } else {
                    all.push(format!("{name} {:?}", String::from_utf8_lossy(&std::fs::read(&path).unwrap())));
                }
            }
        }
        all.sort();
        all
    }
}

/// An archive of members that no tar would make: the names are written as they are.
fn archive(members: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (sort, name, content) in members {
        let mut header = Header::new_gnu();
        header.set_entry_type(*sort);
        header.set_mode(0o777);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let is_link = matches!(sort, EntryType::Symlink | EntryType::Link);
        if is_link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        let data = if is_link { "" } else { content };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn the_small_tools_look_around() {
    let b = Sandbox::new();
    std::fs::write(b.at("data/f"), "text\n").unwrap();
    std::fs::write(b.at("data/.hidden"), "").unwrap();
    b.check(
        "ls",
        expect![[r#"
        data
        fixed
        [0]"#]],
    )
    .await;
    b.check(
        "/bin/ls -aR /data /none",
        expect![[r#"
        /data:
        .
        ..
        .hidden
        f
        ls: cannot access '/none': No such file or directory
        [2]"#]],
    )
    .await;
    b.check(
        "cat /data/f data/f /data",
        expect![[r#"
        text
        text
        cat: /data: Is a directory
        [1]"#]],
    )
    .await;
    b.check(
        "env",
        expect![[r#"
        A=b
        [0]"#]],
    )
    .await;
    b.check(
        "printenv A NONE",
        expect![[r#"
        b
        [1]"#]],
    )
    .await;
    b.check(
        "pwd",
        expect![[r#"
        /
        [0]"#]],
    )
    .await;
    b.check("echo -n a b", expect!["a b[0]"]).await;
    b.check("test -d /data", expect!["[0]"]).await;
    b.check("test -d /data/f", expect!["[1]"]).await;
    b.check("[ ! -w /fixed ]", expect!["[0]"]).await;
    b.check("false", expect!["[1]"]).await;
    let ended = b.run("ls -l /data/f", Vec::new()).await;
    let line = String::from_utf8(ended.stdout).unwrap();
    assert!(line.starts_with("-rw-r--r-- ") && line.ends_with(" /data/f\n"), "{line}");
    let ended = b.run("bash", Vec::new()).await;
    assert_eq!(ended.code, 127);
    assert!(ended.stderr.starts_with("bash: there is no shell"), "{}", ended.stderr);
}

#[tokio::test]
async fn no_link_leads_a_tool_out() {
    let b = Sandbox::new();
    symlink(b.at("outside/secret"), b.at("data/absolute")).unwrap();
    symlink("../outside/secret", b.at("data/relative")).unwrap();
    symlink("../outside", b.at("data/directory")).unwrap();
    for path in ["/data/absolute", "/data/relative", "/data/directory/secret", "/data/../../outside/secret"] {
        let ended = b.run(&format!("cat {path}"), Vec::new()).await;
        assert_eq!((ended.code, ended.stdout), (1, Vec::new()), "{path}");
    }
    let ended = b.run("tar chf - /data", Vec::new()).await;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(!ended.stdout.windows(6).any(|w| w == b"secret"), "links are followed inside only");
    let taken = archive(&[(EntryType::Regular, "directory/new", "x"), (EntryType::Regular, "relative", "mine")]);
    let ended = b.run("tar xf - -C /data", taken).await;
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert_eq!(b.all("outside"), [r#"secret "secret""#]);
    assert_eq!(std::fs::read_to_string(b.at("data/relative")).unwrap(), "mine", "a link is replaced, not followed");
}

#[tokio::test]
async fn what_is_archived_is_taken_again_as_it_was() {
    let b = Sandbox::new();
    std::fs::create_dir_all(b.at("data/a/empty")).unwrap();
    let deep = format!("data/a/{}", "long-name-".repeat(20));
    std::fs::write(b.at(&deep), vec![7; 100_000]).unwrap();
    std::fs::write(b.at("data/a/tool"), "x").unwrap();
    std::fs::set_permissions(b.at("data/a/tool"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    symlink("tool", b.at("data/a/link")).unwrap();
    let made = b.run("tar cf - /data/a", Vec::new()).await;
    assert_eq!((made.code, made.stderr.as_str()), (0, "tar: Removing leading `/' from member names\n"));
    let again = b.run("sh", Vec::new()).await;
    assert_eq!(again.code, 127);
    let taken = b.run("tar -xmf - -C /", made.stdout.clone()).await;
    assert_eq!((taken.code, taken.stderr.as_str()), (0, ""));
    // `data` in the archive is where the volume is mounted: it was taken over itself.
    assert_eq!(b.all("root"), ["data/", "fixed/"]);
    std::fs::rename(b.at("data/a"), b.at("was")).unwrap();
    assert_eq!(b.run("tar xf - -C /", made.stdout).await.code, 0);
    assert_eq!(b.all("data/a"), b.all("was"));
    assert_eq!(b.at("data/a/tool").metadata().unwrap().permissions().mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn a_broken_copy_goes_on_where_it_was() {
    let b = Sandbox::new();
    std::fs::write(b.at("data/f"), vec![1; 50_000]).unwrap();
    let whole = b.run("tar cf - /data/f", Vec::new()).await.stdout;
    let args = ["sh", "-c", "tar cf - /data/f | tail -c+20001"];
    let ((out, mut reader), (err, _err_reader)) = (pipe(1 << 20), pipe(1 << 20));
    let (handle, token) = (Handle::current(), CancellationToken::new());
    let mut bench = Bench {
        args: args.map(str::to_owned).into(),
        env: Vec::new(),
        tree: Tree::open(&b.directories(), None).unwrap(),
        stdin: Reader::new(None, handle.clone(), token.clone()),
        stdout: Writer::new(out.clone(), handle.clone(), token.clone()),
        stderr: Writer::new(err, handle, token),
    };
    tokio::task::spawn_blocking(move || shell::shell(&mut bench).and_then(|_| bench.stdout.flush()))
        .await
        .unwrap()
        .ok();
    out.close();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, whole[20_000..]);
}

#[tokio::test]
async fn a_hostile_archive_is_taken_as_far_as_it_is_harmless() {
    let b = Sandbox::new();
    let taken = archive(&[
        (EntryType::Regular, "../outside/up", "x"),
        (EntryType::Regular, "a/../../up", "x"),
        (EntryType::Regular, "/abs", "stripped"),
        (EntryType::Symlink, "out", "/etc/passwd"),
        (EntryType::Symlink, "up", "../../outside"),
        (EntryType::Regular, "up/new", "inside"),
        (EntryType::Symlink, "in", "abs"),
        (EntryType::Link, "hard-out", "../outside/secret"),
        (EntryType::Link, "hard-in", "abs"),
        (EntryType::Char, "device", ""),
        (EntryType::Fifo, "pipe", ""),
        (EntryType::Regular, "last", "last"),
    ]);
    let ended = b.run("tar xf - -C /data", taken).await;
    expect![[r#"
        tar: ../outside/up: Member name contains '..'
        tar: a/../../up: Member name contains '..'
        tar: Removing leading `/' from member names
        tar: out: Cannot create symlink to '/etc/passwd': Operation not permitted
        tar: up: Cannot create symlink to '../../outside': Operation not permitted
        tar: hard-out: a link that leads nowhere
        tar: device: Cannot mknod: Operation not permitted
        tar: pipe: Cannot mknod: Operation not permitted
        tar: Exiting with failure status due to previous errors
    "#]]
    .assert_eq(&ended.stderr);
    assert_eq!(ended.code, 2);
    expect![[r#"
        abs "stripped"
        hard-in "stripped"
        in -> abs
        last "last"
        up/
        up/new "inside""#]]
    .assert_eq(&b.all("data").join("\n"));
    assert_eq!(b.all("outside"), [r#"secret "secret""#]);
}

#[tokio::test]
async fn what_is_read_only_stays_as_it_is() {
    let b = Sandbox::new();
    let taken = archive(&[
        (EntryType::Regular, "k", "other"),
        (EntryType::Directory, "d/", ""),
        (EntryType::Symlink, "l", "k"),
    ]);
    let ended = b.run("tar xf - -C /fixed", taken).await;
    assert_eq!(ended.code, 2);
    expect![[r#"
        tar: k: Cannot open: Read-only file system
        tar: d/: Cannot mkdir: Read-only file system
        tar: l: Cannot create symlink to 'k': Read-only file system
        tar: Exiting with failure status due to previous errors
    "#]]
    .assert_eq(&ended.stderr);
    assert_eq!(b.all("fixed"), [r#"k "v""#]);
}

#[tokio::test]
async fn what_is_no_archive_is_told() {
    let b = Sandbox::new();
    let ended = b.run("tar xf - -C /data", vec![b'x'; 2000]).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.ends_with("tar: Error is not recoverable: exiting now\n"), "{}", ended.stderr);
    let mut cut = archive(&[(EntryType::Regular, "f", "content")]);
    cut.truncate(515);
    assert_eq!(b.run("tar xf - -C /data", cut).await.code, 2);
    let ended = b.run("tar xf - -C /none", Vec::new()).await;
    assert!(ended.stderr.starts_with("tar: /none: Cannot open: No such file or directory\n"), "{}", ended.stderr);
}

#[test]
fn a_tool_is_meant_unless_the_program_itself_is_called_so() {
    assert_eq!(Tool::named("tar", "guest"), Some(Tool::Tar));
    assert_eq!(Tool::named("/usr/bin/tar", "guest"), Some(Tool::Tar));
    assert_eq!(Tool::named("/data/tar", "guest"), None);
    assert_eq!(Tool::named("./tar", "guest"), None);
    assert_eq!(Tool::named("cat", "/app/cat.wasm"), None);
    assert_eq!(Tool::named("cat", "cat"), None);
    assert_eq!(Tool::named("guest", "guest"), None);
    assert_eq!(Tool::named("", "guest"), None);
}

#[test]
fn a_time_to_sleep_has_a_unit_or_none() {
    let known = ["5", "1.5", "2m", "1h", "infinity"].map(seconds);
    assert_eq!(
        known,
        [Some(5.0), Some(1.5), Some(120.0), Some(3600.0), None]
            .map(|s| Some(s.map_or(Duration::MAX, Duration::from_secs_f64)))
    );
    assert_eq!(["", "x", "-1", "1x", "s"].map(seconds), [None; 5]);
}

fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["..", ".", "a", "b", "data", "", "secret", "outside"]);
    (any::<bool>(), prop::collection::vec(part, 1..5))
        .prop_map(|(root, parts)| format!("{}{}", if root { "/" } else { "" }, parts.join("/")))
}

fn sort() -> impl Strategy<Value = EntryType> {
    prop::sample::select(vec![EntryType::Regular, EntryType::Directory, EntryType::Symlink, EntryType::Link])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_archive_changes_anything_outside(members in prop::collection::vec((sort(), name(), name()), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let b = Sandbox::new();
            let members: Vec<_> = members.iter().map(|(sort, name, content)| (*sort, name.as_str(), content.as_str())).collect();
            b.run("tar xf - -C /data", archive(&members)).await;
            b.run("tar xf -", archive(&members)).await;
            assert_eq!(b.all("outside"), [r#"secret "secret""#]);
            assert_eq!(b.all("fixed"), [r#"k "v""#]);
            let beside: Vec<_> = std::fs::read_dir(b.dir.path()).unwrap().collect();
            assert_eq!(beside.len(), 4);
        });
    }
}

#[tokio::test]
async fn a_name_without_end_is_not_held_in_memory() {
    let b = Sandbox::new();
    let long = "x".repeat(2 << 20);
    let ended = b.run("tar xf - -C /data", archive(&[(EntryType::GNULongName, "././@LongLink", &long)])).await;
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("a member's name is too long"), "{}", ended.stderr);
    let large = "x".repeat(2 << 20);
    let taken = archive(&[(EntryType::Char, "c", &large), (EntryType::Regular, "f", &large)]);
    assert_eq!(b.run("tar xf - -C /data", taken).await.code, 2, "the device is left out, and no more");
    assert_eq!(b.at("data/f").metadata().unwrap().len(), 2 << 20);
}
