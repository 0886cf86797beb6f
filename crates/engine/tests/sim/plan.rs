//! What a plan is made of, and how one is drawn from a seed.
//!
//! An operation carries all that it needs, so that a plan from which some were dropped is a plan.

use ibid_engine::Stage;
use ibid_runtime::{Fault, Random, SeededRandom};

pub(crate) const TENANTS: u8 = 2;
const DOCUMENTS: u8 = 4;
pub(crate) const CONTENTS: u8 = 5;
const KEYS: u8 = 2;
/// Operations of a plan, about.
const LENGTH: usize = 50;
/// Two collections of one tenant, and one of another: each is opened and its index made at every start, which costs the most.
const PLACES: [Place; 3] =
    [Place { tenant: 0, collection: 0 }, Place { tenant: 0, collection: 1 }, Place { tenant: 1, collection: 0 }];

/// A tenant's collection, by numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) tenant: u8,
    pub(crate) collection: u8,
}

/// A document to be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Putting {
    pub(crate) place: Place,
    pub(crate) document: u8,
    pub(crate) content: u8,
    pub(crate) key: Option<u8>,
}

/// One step. To add one: a variant here, its weight in [`draw`], and an arm in `Run::step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    CreateTenant(u8),
    /// With all it has; a tenant of the same name may follow.
    DropTenant(u8),
    CreateCollection(Place),
    DeleteCollection(Place),
    Put(Putting, Stage),
    Delete(Place, u8),
    /// Both arms, and a look for another tenant's words.
    Search(Place),
    /// Both arms in a past generation; the number draws which.
    Past(Place, u8),
    /// The indexes against the ledger.
    Check,
    /// The log without what is of no use.
    Compact,
    /// A copy of everything, restored and compared.
    Snapshot,
    /// The embedder answers no more.
    Stall,
    Resume,
    /// So many bytes are left on the disk.
    Fill(u16),
    MakeRoom,
    /// A disk operation to come fails.
    Fail(Fault),
    /// The power fails at a change to come; the second number draws what is left.
    PowerFails(u32, u64),
    /// It fails now.
    PowerCut(u64),
    /// The process is killed, the machine goes on.
    Kill,
    /// Closed and opened.
    Reopen,
    /// Closed, and opened with a master key from then on.
    Encrypt,
    /// Closed, and opened such that replaced versions are kept for so many milliseconds.
    Retain(u32),
}

/// Longer than any plan takes.
pub(crate) const RETAINED_FOR_GOOD: u32 = 24 * 3_600_000;

struct Draw(SeededRandom);

impl Draw {
    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(b"plan", &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn below(&mut self, bound: u32) -> u32 {
        (self.number() % u64::from(bound)) as u32
    }

    fn small(&mut self, bound: u8) -> u8 {
        self.below(u32::from(bound)) as u8
    }

    fn place(&mut self) -> Place {
        PLACES[self.below(3) as usize]
    }

    fn put(&mut self) -> Putting {
        let (place, document, content) = (self.place(), self.small(DOCUMENTS), self.small(CONTENTS));
        let key = (self.below(3) == 0).then(|| self.small(KEYS));
        Putting { place, document, content, key }
    }

    fn stage(&mut self) -> Stage {
        [Stage::Durable, Stage::Lexical, Stage::Vector][self.below(3) as usize]
    }

    fn fault(&mut self) -> Fault {
        match self.below(4) {
            0 => Fault::SyncFails(self.below(5)),
            1 => Fault::WriteTorn(self.below(5)),
            2 => Fault::DiskFull(self.below(5)),
            _ => Fault::ReadFlipped { reads: self.below(4), bit: self.below(1 << 16) },
        }
    }
}

/// The plan of a seed.
pub(crate) fn draw(seed: u64) -> Vec<Op> {
    let mut draw = Draw(SeededRandom::new(seed));
    let mut plan = Vec::new();
    // Some are encrypted from the start, some from somewhere on, some never.
    let encrypted_from = draw.below(3) as usize * LENGTH / 2;
    match draw.below(4) {
        0 => {}
        1 => plan.push(Op::Retain(1 + draw.below(3_000))),
        _ => plan.push(Op::Retain(RETAINED_FOR_GOOD)),
    }
    (0..TENANTS).for_each(|tenant| plan.extend(creation(tenant)));
    while plan.len() < LENGTH {
        if plan.len() >= encrypted_from && !plan.contains(&Op::Encrypt) {
            plan.push(Op::Encrypt);
        }
        match draw.below(100) {
            0..45 => {
                let put = draw.put();
                plan.push(Op::Put(put, draw.stage()));
                match draw.below(8) {
                    0 => plan.push(Op::Put(put, draw.stage())),
                    1 => plan.push(Op::Put(Putting { content: draw.small(CONTENTS), ..put }, draw.stage())),
                    _ => {}
                }
            }
            45..55 => plan.push(Op::Delete(draw.place(), draw.small(DOCUMENTS))),
            55..57 => plan.push(Op::Search(draw.place())),
            57..60 => plan.push(Op::Past(draw.place(), draw.small(u8::MAX))),
            60..63 => plan.push(Op::Compact),
            63..64 => plan.push(Op::Check),
            64..65 => plan.push(Op::Snapshot),
            65..68 => {
                let tenant = draw.small(TENANTS);
                plan.push(Op::DropTenant(tenant));
                plan.extend(creation(tenant));
            }
            68..71 => {
                let place = draw.place();
                plan.extend([Op::DeleteCollection(place), Op::CreateCollection(place)]);
            }
            71..74 => {
                // A replace that stays half way.
                let put = draw.put();
                let next = Putting { content: draw.small(CONTENTS), key: None, ..put };
                plan.extend([Op::Put(put, Stage::Vector), Op::Stall, Op::Put(next, Stage::Durable)]);
                plan.push(Op::Search(put.place));
            }
            74..77 => plan.push(Op::Resume),
            77..80 => plan.push(Op::Fill(draw.below(4_000) as u16)),
            80..83 => plan.push(Op::MakeRoom),
            83..88 => plan.push(Op::Fail(draw.fault())),
            88..93 => plan.push(Op::PowerFails(draw.below(12), draw.number())),
            93..95 => plan.push(Op::PowerCut(draw.number())),
            95..98 => plan.push(Op::Kill),
            _ => plan.push(Op::Reopen),
        }
    }
    plan
}

/// A tenant with its collections.
fn creation(tenant: u8) -> impl Iterator<Item = Op> {
    let own = PLACES.into_iter().filter(move |place| place.tenant == tenant);
    std::iter::once(Op::CreateTenant(tenant)).chain(own.map(Op::CreateCollection))
}

/// The word that every chunk of a tenant has, and no other tenant's.
pub(crate) fn tenant_word(tenant: u8) -> String {
    format!("tenant{tenant}")
}

/// How many parts a content has.
pub(crate) fn parts(content: u8) -> usize {
    2 + usize::from(content) % 3
}

/// Whether a content's chunks and vectors are the client's own.
pub(crate) fn comes_with_vectors(content: u8) -> bool {
    content + 1 == CONTENTS
}

/// The word that a part has.
pub(crate) fn part_word(part: usize) -> String {
    format!("part{part}")
}

/// The text of a content. Each part becomes a chunk; the first is the same in all of a document's contents.
pub(crate) fn text(Place { tenant, collection }: Place, document: u8, content: u8) -> String {
    let mut text = format!("# Document {document}\n\n");
    for part in 0..parts(content) {
        let own = if part == 0 { "always".to_owned() } else { format!("take{content}") };
        let (word, part_word) = (tenant_word(tenant), part_word(part));
        let filler = format!("{own} collection{collection} document{document} ").repeat(8);
        text.push_str(&format!("## Part {part}\n\n{word} {part_word} {filler}\n\n"));
    }
    text
}
