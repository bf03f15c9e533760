//! Functions in an order that compresses well: what is alike side by side.
//!
//! gzip looks back 32 KiB. Each next function is the one that shares most with the last few. The order is written as names,
//! by which the optimiser then sorts.

use crate::{
    Failure,
    reader::{Reader, push_bytes, push_number, sections},
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of what counts as shared.
const SHARED: usize = 6;
/// Functions looked back at.
const BACK: usize = 4;
/// What more functions than this share is no likeness.
const COMMON: usize = 300;

/// Names every function by its place in the order.
pub(crate) fn name(wasm: &[u8]) -> Result<Vec<u8>, Failure> {
    let (mut imported, mut bodies) = (0, Vec::new());
    let mut out = wasm.get(..8).ok_or("no module")?.to_vec();
    for (id, content) in sections(wasm)? {
        let mut reader = Reader(content);
        match id {
            0 if reader.bytes()? == b"name" => continue,
            2 => imported = imported_functions(reader)?,
            10 => {
                for _ in 0..reader.number()? {
                    bodies.push(reader.bytes()?);
                }
            }
            _ => {}
        }
        out.push(id);
        push_bytes(&mut out, content);
    }
    let mut places = vec![0; bodies.len()];
    for (place, body) in order(&bodies).into_iter().enumerate() {
        places[body] = place;
    }
    let mut names = Vec::new();
    push_number(&mut names, bodies.len());
    for (body, place) in places.into_iter().enumerate() {
        push_number(&mut names, imported + body);
        push_bytes(&mut names, format!("{place:06}").as_bytes());
    }
    let mut section = Vec::new();
    push_bytes(&mut section, b"name");
    // Names of functions.
    section.push(1);
    push_bytes(&mut section, &names);
    out.push(0);
    push_bytes(&mut out, &section);
    Ok(out)
}

fn imported_functions(mut section: Reader<'_>) -> Result<usize, Failure> {
    let mut functions = 0;
    for _ in 0..section.number()? {
        section.bytes()?;
        section.bytes()?;
        if section.byte()? != 0 {
            return Err("an import that is no function".into());
        }
        section.number()?;
        functions += 1;
    }
    Ok(functions)
}

fn order(bodies: &[&[u8]]) -> Vec<usize> {
    let parts: Vec<BTreeSet<&[u8]>> =
        bodies.iter().map(|body| body.windows(SHARED).collect()).collect();
    let mut sharers = BTreeMap::<&[u8], Vec<usize>>::new();
    for (body, parts) in parts.iter().enumerate() {
        for part in parts {
            sharers.entry(part).or_default().push(body);
        }
    }
    let mut left: BTreeSet<usize> = (0..bodies.len()).collect();
    let mut order: Vec<usize> = Vec::new();
    while !left.is_empty() {
        let mut shared = BTreeMap::<usize, usize>::new();
        let back = &order[order.len().saturating_sub(BACK)..];
        for part in back.iter().flat_map(|body| &parts[*body]).collect::<BTreeSet<_>>() {
            let sharers = sharers.get(part).filter(|sharers| sharers.len() < COMMON);
            for body in sharers.into_iter().flatten().filter(|body| left.contains(body)) {
                *shared.entry(*body).or_default() += 1;
            }
        }
        // Most of itself shared; a few bytes shared by a tiny one are worth little.
        let likeness =
            |(body, shared): &(usize, usize)| shared * 10_000 / (parts[*body].len() + 20);
        let alike = shared.into_iter().max_by_key(likeness).map(|(body, _)| body);
        let largest = || left.iter().copied().max_by_key(|body| bodies[*body].len());
        let Some(next) = alike.or_else(largest) else { break };
        left.remove(&next);
        order.push(next);
    }
    order
}
