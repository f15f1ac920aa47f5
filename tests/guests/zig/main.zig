//! A command in Zig, for WASI preview 1: it reports what it was given, as README.md lists it.

const std = @import("std");
const Io = std.Io;

/// 2024-01-01 in seconds since 1970.
const year_2024 = 1_704_067_200;

pub fn main(init: std.process.Init) !void {
    const io, const arena = .{ init.io, init.arena.allocator() };
    var room: [4096]u8 = undefined;
    var stdout = Io.File.stdout().writerStreaming(io, &room);
    const out = &stdout.interface;

    const arguments = (try init.minimal.args.toSlice(arena))[1..];
    for (arguments, 1..) |argument, number| try out.print("arg {d}: {s}\n", .{ number, argument });
    try out.print("GREETING={s}\n", .{init.environ_map.get("GREETING") orelse ""});

    // Without a C library a path begins at one of the directories that were given.
    const config = try given(init, init.environ_map.get("CONFIG_DIR") orelse "");
    // This standard library opens no symlink, and in a ConfigMap each name is one, to what lies behind `..data`.
    const motd = try config.readFileAlloc(io, "..data/motd", arena, .limited(4096));
    try out.print("config: {s}\n", .{std.mem.trim(u8, motd, " \n")});
    const top = try given(init, "/");
    try top.writeFile(io, .{ .sub_path = "note.txt", .data = "kept by zig" });
    try out.print("note: {s}\n", .{try top.readFileAlloc(io, "note.txt", arena, .limited(4096))});

    if (top.access(io, "nowhere", .{})) |_| {} else |err| {
        if (err == error.FileNotFound) try out.writeAll("a missing file is missing\n");
    }
    var input: [16]u8 = undefined;
    if (Io.File.stdin().readStreaming(io, &.{&input})) |_| {} else |err| {
        if (err == error.EndOfStream) try out.writeAll("stdin is empty\n");
    }
    var one: [16]u8 = undefined;
    var other: [16]u8 = undefined;
    try io.randomSecure(&one);
    try io.randomSecure(&other);
    if (!std.mem.eql(u8, &one, &other)) try out.writeAll("random differs\n");
    if (Io.Timestamp.now(io, .real).nanoseconds > year_2024 * std.time.ns_per_s) try out.writeAll("the clock is set\n");
    const began = Io.Timestamp.now(io, .awake);
    try io.sleep(.fromMilliseconds(50), .awake);
    if (began.durationTo(Io.Timestamp.now(io, .awake)).nanoseconds >= 50 * std.time.ns_per_ms) try out.writeAll("slept\n");
    try out.flush();
    try Io.File.stderr().writeStreamingAll(io, "a word on stderr\n");

    if (arguments.len == 2 and std.mem.eql(u8, arguments[0], "exit"))
        std.process.exit(try std.fmt.parseInt(u8, arguments[1], 10));
    if (arguments.len == 1 and std.mem.eql(u8, arguments[0], "panic")) @panic("asked to");
}

fn given(init: std.process.Init, path: []const u8) !Io.Dir {
    const found = init.preopens.get(path) orelse return error.DirectoryNotGiven;
    return switch (found) {
        .dir => |dir| dir,
        .file => error.NotADirectory,
    };
}
