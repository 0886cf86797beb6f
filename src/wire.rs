//! Protobuf to domain and back. What comes in is checked here, once; every error names its field as the client knows it.
//!
//! | file            | responsibility                                            |
//! | --------------- | --------------------------------------------------------- |
//! | `text.rs`       | UTF-8, lengths, names, numbers of enums                   |
//! | `time.rs`       | timestamps                                                |
//! | `page.rs`       | pages of lists and their tokens                           |
//! | `value.rs`      | metadata values, their types, pieces of text              |
//! | `filter.rs`     | conditions on metadata                                    |
//! | `tenant.rs`     | tenants and how far their documents are                   |
//! | `key.rs`        | keys, scopes, principals                                  |
//! | `collection.rs` | collections and their settings, defaults filled in        |
//! | `migration.rs`  | changing a collection's model                             |
//! | `snapshot.rs`   | snapshots of the data folder                              |
//! | `document.rs`   | documents on their way in and out                         |
//! | `erasure.rs`    | what is left of something deleted                         |
//! | `citation.rs`   | what has become of something cited                        |
//! | `search.rs`     | questions and their settings                              |
//! | `hit.rs`        | what was found, and how long it took                      |
//! | `answer.rs`     | questions to be answered, and the events of an answer     |

pub(crate) mod answer;
pub(crate) mod citation;
pub(crate) mod collection;
pub(crate) mod document;
pub(crate) mod erasure;
pub(crate) mod filter;
pub(crate) mod hit;
pub(crate) mod key;
pub(crate) mod migration;
pub(crate) mod page;
pub(crate) mod report;
pub(crate) mod search;
pub(crate) mod snapshot;
pub(crate) mod tenant;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod value;
