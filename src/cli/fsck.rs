//! The data folder examined, while no server runs on it.

use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use ibid_core::Operator;
use ibid_engine::{DamagedRecord, Mended, MendedView, Opened, ViewKind};
use ibid_runtime::{Ctx, Priority, SystemClock};
use serde_json::{Value, json};

use super::terminal::plain;
use super::{Global, runtime};
use crate::house::{House, Parts};

/// Read every record of the log, compare every index with it, and mend what can be mended; no server may run.
///
/// Indexes that are damaged, or not what the log says, are made so. The log is not changed. The exit status is 0 if all is well
/// or mended, and 1 if records of the log are lost or something still does not hold: then what is lost is named, as far as its
/// names are left. Put those documents again, or restore a snapshot from before.
#[derive(Debug, Args)]
pub(super) struct Fsck;

impl Fsck {
    pub(super) fn run(self, global: &Global) -> anyhow::Result<()> {
        let config = global.config()?;
        let folder = config.data_dir.display();
        ensure!(config.data_dir.join("log").is_dir(), "{folder} is no data folder: it has no log");
        let ctx = Ctx::new(Arc::new(SystemClock::new()), Priority::Query, None);
        let (house, opened) = House::open(&config, Parts::of_this_machine(&config)?)?;
        let found = runtime()?.block_on(house.engine.fsck(&ctx, &Operator::of_this_process()));
        house.engine.close();
        let found = found.context("examine the data folder")?;
        if global.json {
            println!("{}", render(&opened, &found));
        } else {
            show(&opened, &found);
        }
        ensure!(
            found.is_sound(),
            "not everything is there or holds; put those documents again, or restore a snapshot from before \
             (ibid snapshot list, ibid snapshot restore)"
        );
        Ok(())
    }
}

fn show(opened: &Opened, found: &ibid_engine::Fsck) {
    println!("{} records of the log are whole", found.records);
    if opened.ledger.torn_bytes > 0 {
        println!("cut from its end: {} bytes that were never acknowledged", opened.ledger.torn_bytes);
    }
    if opened.ledger.index_rebuilt {
        println!("mended: the index over the log, made anew");
    }
    for MendedView { tenant, collection, mended } in &found.mended {
        let Mended { view, made_anew, added, removed } = mended;
        let how = if *made_anew {
            "damaged, made anew".to_owned()
        } else {
            format!("brought up to date, {added} chunks more and {removed} fewer")
        };
        println!("mended: {} of {tenant}/{collection}, {how}", name(*view));
    }
    found.damaged.iter().for_each(|damaged| println!("damaged: {}", describe(damaged)));
    for one in &found.collections {
        println!("lost: {} documents of {}/{} cannot be read", one.documents, one.tenant, one.name);
    }
    for one in &found.unopened {
        println!("not opened: {}/{}: {}", one.tenant, one.name, plain(&one.error.to_string()));
    }
    found.violations.iter().for_each(|violation| println!("does not hold: {}", plain(&violation.to_string())));
    if found.is_sound() {
        println!("all is well");
    }
}

fn describe(damaged: &DamagedRecord) -> String {
    let DamagedRecord { place, lost, kind, tenant, collection, document } = damaged;
    let at = format!("{} at byte {}", file(place.segment), place.offset);
    if !lost {
        return format!("{at}: its header or table of contents; no record is lost");
    }
    let kind = kind.map_or("what it was cannot be told", |kind| kind.describe());
    let names = [tenant.as_ref().map(ToString::to_string), collection.as_ref().map(ToString::to_string)];
    let names: Vec<String> =
        names.into_iter().flatten().chain(document.as_ref().map(|id| plain(id.as_str()).to_string())).collect();
    let of = if names.is_empty() { String::new() } else { format!(", {}", names.join("/")) };
    format!("{at}: record {}, {kind}{of}", place.sequence)
}

fn render(opened: &Opened, found: &ibid_engine::Fsck) -> Value {
    let damaged = |one: &DamagedRecord| {
        json!({
            "sequence": one.place.sequence.0,
            "file": file(one.place.segment),
            "offset": one.place.offset,
            "lost": one.lost,
            "kind": one.kind.map(|kind| format!("{kind:?}")),
            "tenant": one.tenant.as_ref().map(ToString::to_string),
            "collection": one.collection.as_ref().map(ToString::to_string),
            "document": one.document.as_ref().map(ToString::to_string),
        })
    };
    let mended = |one: &MendedView| {
        json!({
            "tenant": one.tenant.to_string(),
            "collection": one.collection.to_string(),
            "view": name(one.mended.view),
            "made_anew": one.mended.made_anew,
            "added": one.mended.added,
            "removed": one.mended.removed,
        })
    };
    let lost = found.collections.iter().map(|one| {
        json!({ "tenant": one.tenant.to_string(), "collection": one.name.to_string(), "documents": one.documents })
    });
    let unopened = found.unopened.iter().map(|one| {
        let error = one.error.to_string();
        json!({ "tenant": one.tenant.to_string(), "collection": one.name.to_string(), "error": error })
    });
    json!({
        "sound": found.is_sound(),
        "records": found.records,
        "torn_bytes": opened.ledger.torn_bytes,
        "index_rebuilt": opened.ledger.index_rebuilt,
        "mended": found.mended.iter().map(mended).collect::<Vec<_>>(),
        "damaged": found.damaged.iter().map(damaged).collect::<Vec<_>>(),
        "documents_damaged": lost.collect::<Vec<_>>(),
        "unopened": unopened.collect::<Vec<_>>(),
        "violations": found.violations.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn name(view: ViewKind) -> &'static str {
    match view {
        ViewKind::Words => "words",
        ViewKind::Vectors => "vectors",
    }
}

/// A segment's file, in the folder `log`.
fn file(segment: u32) -> String {
    format!("{segment:020}.log")
}
