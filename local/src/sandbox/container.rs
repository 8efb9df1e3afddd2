//! What the hidden commands read: the parts of a container that are data.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Capabilities, Exec, Mount, User};

/// Of a container to make.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Container {
    pub(super) hostname: String,
    pub(super) resolv_conf: String,
    pub(super) hosts: String,
    pub(super) mounts: Vec<Mount>,
    pub(super) program: Program,
}

/// Of a program to execute.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) argv: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: PathBuf,
    pub(super) user: User,
    pub(super) capabilities: Capabilities,
    pub(super) terminal: bool,
}

impl Program {
    pub(super) fn new(exec: &Exec, capabilities: Capabilities) -> Program {
        Program {
            argv: exec.argv.clone(),
            env: exec.env.clone(),
            cwd: exec.cwd.clone(),
            user: exec.user.clone(),
            capabilities,
            terminal: exec.terminal,
        }
    }
}

/// Puts `value` into a file of memory, to be inherited: it may be larger than a pipe.
pub(super) fn to_memory(value: &impl Serialize) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("sandbox", MFdFlags::MFD_CLOEXEC)?);
    let bytes = serde_json::to_vec(value).map_err(io::Error::other)?;
    file.write_all(&bytes)?;
    Ok(file.into())
}

/// Reads back what [`to_memory`] wrote.
pub(super) fn from_memory<T: DeserializeOwned>(memory: OwnedFd) -> io::Result<T> {
    let mut file = File::from(memory);
    let mut bytes = Vec::new();
    // Its position is shared with the writer's.
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}
