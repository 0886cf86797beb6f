//! The engine from outside, on the memory disk; on the machine's where files are damaged.
//!
//! | file           | what it asks                                                             |
//! | -------------- | ------------------------------------------------------------------------ |
//! | `backup.rs`    | snapshots by the engine: one at a time, given up when nobody waits       |
//! | `compaction.rs` | what was deleted or replaced leaves the disk, the rest stays             |
//! | `damage.rs`    | wrong bits in every file: what is served, mended, named                  |
//! | `documents.rs` | a document's life: acknowledged, found, replaced, deleted, kept           |
//! | `past.rs`      | past generations as they were; what has become of something cited         |
//! | `migration.rs` | a collection's model changed while it is searched, cut off at every step  |
//! | `house.rs`     | the engine, its disk and its models                                      |
//! | `words.rs`     | embedders that need no weights; the simulation has them too              |

mod backup;
mod compaction;
mod damage;
mod documents;
mod house;
mod migration;
mod past;
mod words;
