//! What goes over the launcher's socket, and the byte form of paths in it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Step};
use crate::given::Given;
use crate::streams::Kind;

/// Asks for a build. The descriptors come in this order: plan, reply, streams, lock of its user, and what each
/// [`crate::Op::Memory`] is to mount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Whether what its user runs is to be killed before.
    pub(crate) sweeps: bool,
    /// What the program has as standard streams.
    pub(crate) streams: Kind,
    /// Whether it has a user of its own.
    pub(crate) has_user: bool,
    /// Whether an observer is to fill a file that comes along.
    pub(crate) is_observed: bool,
}

/// What a launcher or the child it forked says about one build, on that build's own socket.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The program runs, with that isolation; a descriptor of its first process, whose number this is, comes along.
    Started(Box<Given>, i32),
    /// A descriptor of what [`crate::Op::Memory`] has mounted comes along.
    Memory,
    /// A directory belongs to the caller again.
    TakenBack,
    /// The other side of the program's terminal comes along.
    Terminal,
    /// Setting up failed; nothing ran.
    Failed(Failure),
    /// Something that does not end the build, such as a mount that stays busy.
    Warning(Failure),
    /// Something that people may want to know.
    Detail(Detail),
    /// The first process ended and was reaped.
    Exited(Exited),
    /// It was ended, since it has no network any more, or never had.
    Lost(Lost),
}

/// A step of setting up or taking down, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// What happens.
    Stage(String),
    /// One of the many things that make it up, such as a mount.
    Step(String),
}

/// What a child says while it sets up, one after another on one pipe, each in one write.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// It waits for its id maps.
    WantsMaps,
    /// Setting up failed.
    Failed(Failure),
    /// All is set up but for the program, which runs once the pipe is closed by `execve`.
    Ready(Box<Given>),
    /// The program runs, where closing the pipe cannot say so.
    Runs,
}

impl Said {
    /// Everything in `bytes`, in order.
    pub(crate) fn decode_all(mut bytes: &[u8]) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (said, rest) = postcard::take_from_bytes(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            all.push(said);
            bytes = rest;
        }
        Ok(all)
    }
}

/// An [`Error::Setup`] on the wire.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    #[serde(with = "byte_path")]
    pub(crate) path: PathBuf,
    pub(crate) errno: i32,
}

impl Failure {
    pub(crate) fn new(step: Step, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self { step, path: path.into(), errno: errno.raw_os_error() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Setup {
            step: failure.step,
            target: failure.path,
            source: io::Error::from_raw_os_error(failure.errno),
        }
    }
}

/// How the helper of its network failed a build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lost {
    #[serde(with = "byte_path")]
    pub(crate) program: PathBuf,
    /// Whether it had connected the build before.
    pub(crate) is_connected: bool,
    /// What it printed, and how it ended.
    pub(crate) said: String,
}

impl From<Lost> for Error {
    fn from(Lost { program, is_connected, said }: Lost) -> Self {
        if is_connected { Self::NetworkLost { program, said } } else { Self::NetworkHelper { program, said } }
    }
}

/// How a build's first process ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Exited {
    /// As `wait4` gives it.
    pub(crate) status: i32,
    pub(crate) user_micros: u64,
    pub(crate) system_micros: u64,
    pub(crate) peak_bytes: u64,
    pub(crate) written_bytes: u64,
    /// The limit of memory that processes were killed for.
    pub(crate) out_of_memory: Option<u64>,
}

/// Encodes a message; in memory that cannot fail.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("plain data can always be encoded")
}

/// Decodes a message of this same binary.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Paths as bytes: those of a host need not be UTF-8.
pub(crate) mod byte_path {
    use serde::{Deserializer, Serializer};

    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(path.as_os_str().as_bytes())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Ok(PathBuf::from(OsString::from_vec(bytes)))
    }
}
