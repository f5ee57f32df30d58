//! A running build as a file tells of it: JSON, for anybody to read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{BuildId, Holder, Owner, RunningBuild, Stage, Wait};

/// Changes when a reader of it would misunderstand the new form.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Build {
    version: u32,
    id: String,
    drv: String,
    name: String,
    target: String,
    outputs: BTreeMap<String, String>,
    owner: OwnerOf,
    since_millis: i64,
    log: Option<String>,
    #[serde(flatten)]
    stage: StageOf,
}

#[derive(Serialize, Deserialize)]
struct OwnerOf {
    process: u32,
    user: u32,
    started: u64,
    boot: String,
    namespace: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HolderOf {
    process: u32,
    command: Option<String>,
    build: Option<String>,
    since_millis: Option<i64>,
    log: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "state")]
enum StageOf {
    #[serde(rename = "waiting for lock")]
    Lock { file: String, holder: Option<HolderOf> },
    #[serde(rename = "waiting for user")]
    User,
    #[serde(rename = "waiting for hook")]
    Hook { program: String },
    #[serde(rename = "building")]
    Building { process: u32, phase: Option<String> },
    #[serde(rename = "building elsewhere")]
    Elsewhere { machine: String },
    #[serde(rename = "fetching")]
    Fetching { program: String },
    #[serde(rename = "keeping outputs")]
    Keeping,
}

/// Prints one.
pub(super) fn print(build: &RunningBuild) -> Vec<u8> {
    let Owner { process, user, started, boot, namespace } = build.owner.clone();
    let file = Build {
        version: VERSION,
        id: build.id.to_string(),
        drv: build.drv.to_string(),
        name: build.drv.name().as_str().trim_end_matches(".drv").to_owned(),
        target: build.target.to_string(),
        outputs: build.outputs.iter().map(|(name, path)| (name.clone(), path.to_string())).collect(),
        owner: OwnerOf { process, user, started, boot, namespace },
        since_millis: build.since_millis,
        log: build.log.as_ref().map(|path| path.to_string_lossy().into_owned()),
        stage: match build.stage.clone() {
            Stage::Waiting(Wait::Lock { file, holder }) => {
                StageOf::Lock { file, holder: holder.map(HolderOf::from) }
            }
            Stage::Waiting(Wait::User) => StageOf::User,
            Stage::Waiting(Wait::Hook { program }) => {
                StageOf::Hook { program: program.to_string_lossy().into_owned() }
            }
            Stage::Building { process, phase } => StageOf::Building { process, phase },
            Stage::Elsewhere { machine } => StageOf::Elsewhere { machine },
            Stage::Fetching { program } => StageOf::Fetching { program },
            Stage::Keeping => StageOf::Keeping,
        },
    };
    serde_json::to_vec(&file).expect("plain data can always be printed")
}

/// Reads one; a stranger may have written it.
pub(super) fn parse(bytes: &[u8]) -> Option<RunningBuild> {
    let file: Build = serde_json::from_slice(bytes).ok()?;
    let outputs = file.outputs.into_iter().map(|(name, path)| Some((name, path.parse().ok()?)));
    let OwnerOf { process, user, started, boot, namespace } = file.owner;
    (file.version == VERSION).then_some(())?;
    Some(RunningBuild {
        id: BuildId::parse(&file.id)?,
        drv: file.drv.parse().ok()?,
        target: file.target.parse().ok()?,
        outputs: outputs.collect::<Option<_>>()?,
        owner: Owner { process, user, started, boot, namespace },
        since_millis: file.since_millis,
        log: file.log.map(PathBuf::from),
        stage: match file.stage {
            StageOf::Lock { file, holder } => {
                Stage::Waiting(Wait::Lock { file, holder: holder.map(Holder::from) })
            }
            StageOf::User => Stage::Waiting(Wait::User),
            StageOf::Hook { program } => Stage::Waiting(Wait::Hook { program: program.into() }),
            StageOf::Building { process, phase } => Stage::Building { process, phase },
            StageOf::Elsewhere { machine } => Stage::Elsewhere { machine },
            StageOf::Fetching { program } => Stage::Fetching { program },
            StageOf::Keeping => Stage::Keeping,
        },
    })
}

impl From<Holder> for HolderOf {
    fn from(holder: Holder) -> Self {
        let Holder { process, command, build, since_millis, log } = holder;
        let (build, log) =
            (build.map(|id| id.to_string()), log.map(|path| path.to_string_lossy().into_owned()));
        Self { process, command, build, since_millis, log }
    }
}

impl From<HolderOf> for Holder {
    fn from(holder: HolderOf) -> Self {
        let HolderOf { process, command, build, since_millis, log } = holder;
        let (build, log) = (build.and_then(|id| BuildId::parse(&id)), log.map(PathBuf::from));
        Self { process, command, build, since_millis, log }
    }
}
