//! The exact scan.

use ibid_runtime::{Ctx, Stopped};

use crate::distance::cosine;
use crate::segment::{Segment, Wanted};
use crate::top::{Scored, Top};
use crate::unit::UnitVector;

/// Rows between two looks at the context.
const BLOCK_ROWS: usize = 4_096;

/// Offers every wanted row of `segment`, by label, to `top`.
pub(crate) fn scan(
    ctx: &Ctx,
    segment: &Segment,
    wanted: &Wanted<'_>,
    query: &UnitVector,
    top: &mut Top,
) -> Result<(), Stopped> {
    match wanted {
        Wanted::All => scan_rows(ctx, segment, 0..segment.len() as u32, query, top),
        Wanted::Only(labels) => scan_rows(ctx, segment, segment.ordinals(labels), query, top),
    }
}

fn scan_rows(
    ctx: &Ctx,
    segment: &Segment,
    ordinals: impl Iterator<Item = u32>,
    query: &UnitVector,
    top: &mut Top,
) -> Result<(), Stopped> {
    for (seen, ordinal) in ordinals.enumerate() {
        if seen % BLOCK_ROWS == 0 {
            ctx.check()?;
        }
        let cosine = cosine(segment.vector(ordinal), query.as_slice());
        top.offer(Scored { cosine, id: segment.label(ordinal) });
    }
    Ok(())
}
