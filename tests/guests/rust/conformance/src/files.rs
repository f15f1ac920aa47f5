//! `wasi:filesystem`: what can be done in a writable place, and what is refused in others.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, DescriptorType, ErrorCode, OpenFlags, PathFlags};

use crate::{Check, Failure, holds, same, text};

pub const CHECKS: &[Check] = &[
    ("a file is written, read, appended to and cut", content),
    ("a file is read and written at an offset", offsets),
    ("a file's metadata tell size, type and time", metadata),
    ("names are given, changed and taken", names),
    ("links are made and followed", links),
    ("directories are made, listed and removed", directories),
    ("a thousand files in one directory are listed", many),
    ("the usual errors are told apart", errors),
    ("a read-only volume refuses every change", read_only),
    ("nothing outside of the given directories is reached", escapes),
];

fn content() -> Result<(), Failure> {
    fs::write("/data/content", "one ").map_err(text)?;
    let mut file = OpenOptions::new().append(true).open("/data/content").map_err(text)?;
    file.write_all(b"two").map_err(text)?;
    file.sync_all().map_err(text)?;
    same(fs::read_to_string("/data/content").map_err(text)?, "one two".to_owned())?;
    OpenOptions::new().write(true).open("/data/content").and_then(|file| file.set_len(3)).map_err(text)?;
    same(fs::read_to_string("/data/content").map_err(text)?, "one".to_owned())?;
    let large = vec![b'x'; 3 << 20];
    fs::write("/data/large", &large).map_err(text)?;
    holds(fs::read("/data/large").map_err(text)? == large, "3 MiB come back as they were")
}

fn offsets() -> Result<(), Failure> {
    let mut file =
        File::options().read(true).write(true).create(true).truncate(true).open("/data/offsets").map_err(text)?;
    file.write_all(b"0123456789").map_err(text)?;
    same(file.seek(SeekFrom::Start(4)).map_err(text)?, 4)?;
    file.write_all(b"x").map_err(text)?;
    same(file.seek(SeekFrom::End(-7)).map_err(text)?, 3)?;
    let mut part = [0; 3];
    file.read_exact(&mut part).map_err(text)?;
    same(&part, b"3x5")?;
    // Beyond the end is a hole.
    file.seek(SeekFrom::Start(20)).map_err(text)?;
    file.write_all(b"!").map_err(text)?;
    same(fs::read("/data/offsets").map_err(text)?.len(), 21)
}

fn metadata() -> Result<(), Failure> {
    fs::write("/data/metadata", "12345").map_err(text)?;
    let found = fs::metadata("/data/metadata").map_err(text)?;
    same((found.len(), found.is_file(), found.is_dir()), (5, true, false))?;
    holds(fs::metadata("/data").map_err(text)?.is_dir(), "/data is a directory")?;
    let age = SystemTime::now().duration_since(found.modified().map_err(text)?).unwrap_or_default();
    holds(age < Duration::from_secs(60), "it was modified just now")?;
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open("/data/metadata").and_then(|file| file.set_modified(then)).map_err(text)?;
    same(fs::metadata("/data/metadata").and_then(|found| found.modified()).map_err(text)?, then)
}

fn names() -> Result<(), Failure> {
    fs::write("/data/früher", "x").map_err(text)?;
    fs::rename("/data/früher", "/data/später").map_err(text)?;
    holds(!fs::exists("/data/früher").map_err(text)?, "the old name is gone")?;
    fs::write("/data/other", "y").map_err(text)?;
    fs::rename("/data/später", "/data/other").map_err(text)?;
    same(fs::read_to_string("/data/other").map_err(text)?, "x".to_owned())?;
    fs::copy("/data/other", "/data/copy").map_err(text)?;
    fs::remove_file("/data/other").map_err(text)?;
    same(fs::read_to_string("/data/copy").map_err(text)?, "x".to_owned())
}

fn links() -> Result<(), Failure> {
    let data = directory("/data")?;
    fs::write("/data/target", "linked").map_err(text)?;
    fs::hard_link("/data/target", "/data/hard").map_err(text)?;
    same(fs::read_to_string("/data/hard").map_err(text)?, "linked".to_owned())?;
    data.symlink_at("target", "soft").map_err(text)?;
    same(data.readlink_at("soft").map_err(text)?, "target".to_owned())?;
    same(fs::read_to_string("/data/soft").map_err(text)?, "linked".to_owned())?;
    same(data.stat_at(PathFlags::empty(), "soft").map_err(text)?.type_, DescriptorType::SymbolicLink)?;
    same(data.stat_at(PathFlags::SYMLINK_FOLLOW, "soft").map_err(text)?.type_, DescriptorType::RegularFile)
}

fn directories() -> Result<(), Failure> {
    fs::create_dir_all("/data/tree/of/three").map_err(text)?;
    fs::write("/data/tree/of/leaf", "").map_err(text)?;
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir("/data/tree/of").map_err(text)? {
        let entry = entry.map_err(text)?;
        found.push(format!("{:?} {}", entry.file_name(), entry.file_type().map_err(text)?.is_dir()));
    }
    found.sort();
    same(found, vec!["\"leaf\" false".to_owned(), "\"three\" true".to_owned()])?;
    holds(
        matches!(directory("/data")?.remove_directory_at("tree"), Err(ErrorCode::NotEmpty)),
        "the tree is not empty",
    )?;
    fs::remove_dir_all("/data/tree").map_err(text)?;
    holds(!fs::exists("/data/tree").map_err(text)?, "the tree is gone")
}

fn many() -> Result<(), Failure> {
    fs::create_dir("/data/many").map_err(text)?;
    for number in 0..1000 {
        File::create(format!("/data/many/{number}")).map_err(text)?;
    }
    same(fs::read_dir("/data/many").map_err(text)?.count(), 1000)
}

fn errors() -> Result<(), Failure> {
    let kind = |error: std::io::Error| error.kind();
    same(fs::read("/data/nowhere").map_err(kind), Err(ErrorKind::NotFound))?;
    same(fs::create_dir("/data").map_err(kind), Err(ErrorKind::AlreadyExists))?;
    fs::write("/data/plain", "").map_err(text)?;
    same(fs::read("/data/plain/below").map_err(kind), Err(ErrorKind::NotADirectory))?;
    same(File::create_new("/data/plain").map(drop).map_err(kind), Err(ErrorKind::AlreadyExists))?;
    same(fs::write("/data", "").map_err(kind), Err(ErrorKind::IsADirectory))
}

fn read_only() -> Result<(), Failure> {
    let motd = fs::read_to_string("/config/motd").map_err(text)?;
    holds(!motd.is_empty(), "the ConfigMap's file has content")?;
    let config = directory("/config")?;
    let write = config.open_at(PathFlags::SYMLINK_FOLLOW, "motd", OpenFlags::empty(), DescriptorFlags::WRITE);
    refused(write.map(drop))?;
    refused(config.open_at(PathFlags::empty(), "new", OpenFlags::CREATE, DescriptorFlags::WRITE).map(drop))?;
    refused(config.unlink_file_at("motd"))?;
    refused(config.rename_at("motd", &config, "other"))?;
    refused(config.create_directory_at("new"))?;
    same(fs::read_to_string("/config/motd").map_err(text)?, motd)
}

fn refused(result: Result<(), ErrorCode>) -> Result<(), Failure> {
    match result {
        Err(ErrorCode::NotPermitted | ErrorCode::ReadOnly | ErrorCode::Access) => Ok(()),
        other => Err(format!("{other:?} is no refusal")),
    }
}

fn escapes() -> Result<(), Failure> {
    let data = directory("/data")?;
    let open =
        |path| data.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ).map(drop);
    refused(open("../../../../../../etc/passwd"))?;
    refused(open("/etc/passwd"))?;
    data.symlink_at("../../../../../../etc", "out").map_err(text)?;
    refused(open("out/passwd"))
}

/// One of the directories that the guest was given.
fn directory(path: &str) -> Result<Descriptor, Failure> {
    let found = get_directories().into_iter().find(|(_, name)| name == path);
    found.map(|(directory, _)| directory).ok_or_else(|| format!("{path} was not given"))
}
