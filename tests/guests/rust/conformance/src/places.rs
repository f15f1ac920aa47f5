//! `wasi:cli` and `wasi:random`: arguments, environment, working directory, terminals, chance.

use std::io::{IsTerminal, Read};

use wasip2::cli::environment;
use wasip2::random::{insecure, insecure_seed, random};

use crate::{Check, Failure, holds, same, text};

pub const CHECKS: &[Check] = &[
    ("arguments and environment come from the pod", given),
    ("the working directory is the pod's", working_directory),
    ("standard input is empty, and nothing is a terminal", input),
    ("random bytes are as many as asked for, and differ", chance),
];

fn given() -> Result<(), Failure> {
    same(std::env::args().skip(1).collect(), vec!["one".to_owned(), String::new(), "zwölf & mehr".to_owned()])?;
    same(std::env::var("GREETING").map_err(text)?, "moin".to_owned())?;
    same(std::env::var("EMPTY").map_err(text)?, String::new())?;
    holds(std::env::var("HOME_OF_THE_NODE").is_err(), "only what the pod lists is there")?;
    holds(std::env::var("PATH").is_err(), "the server's own environment is not there")
}

fn working_directory() -> Result<(), Failure> {
    same(environment::initial_cwd(), Some("/data".to_owned()))
}

fn input() -> Result<(), Failure> {
    let mut given = Vec::new();
    std::io::stdin().read_to_end(&mut given).map_err(text)?;
    same(given.len(), 0)?;
    let terminals = (std::io::stdin().is_terminal(), std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    same(terminals, (false, false, false))
}

fn chance() -> Result<(), Failure> {
    same(random::get_random_bytes(100_000).len(), 100_000)?;
    holds(random::get_random_bytes(16) != random::get_random_bytes(16), "random bytes differ")?;
    holds(random::get_random_u64() != random::get_random_u64(), "random numbers differ")?;
    same(insecure::get_insecure_random_bytes(7).len(), 7)?;
    same(insecure_seed::insecure_seed(), insecure_seed::insecure_seed())
}
