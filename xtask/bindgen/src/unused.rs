//! Constants and table entries that no code reaches any more.
//!
//! The linker keeps what any code names, and knows nothing of the panics cut afterwards: their words, their places and the tables
//! by which they format stay, which are two thirds of all constants. Its relocations (`--emit-relocs`) tell exactly which
//! instruction and which constant names which other; so what is named by nothing reachable becomes zeros, which the
//! optimiser leaves out, and a trap.

use crate::{Failure, reader::Reader};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};
use walrus::{
    ElementItems, ExportItem, FunctionBuilder, FunctionId, FunctionKind, LocalFunction, Module,
    ir::{self, Instr, Visitor},
};

// Of the tool conventions (WebAssembly/tool-conventions, Linking.md).
const TABLE_INDEX: [u8; 2] = [1, 2];
const MEMORY_ADDRESS: [u8; 3] = [3, 4, 5];
const WITHOUT_ADDEND: [u8; 8] = [0, 1, 2, 6, 7, 10, 20, 26];
const SYMBOLS: u8 = 8;
const UNDEFINED: u32 = 0x10;
const EXPLICIT_NAME: u32 = 0x40;

/// What a relocation names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    /// A function, by its number: its address is taken.
    Function(u32),
    /// A constant: segment, first byte, size.
    Constant(u32, u32, u32),
}

/// Who names whom: by place in the file for code, by place in its segment for constants.
#[derive(Default)]
struct Links {
    code: BTreeMap<usize, Named>,
    constants: BTreeMap<(u32, u32), Named>,
    known: BTreeSet<Named>,
}

impl Links {
    fn read(wasm: &[u8]) -> Result<Self, Failure> {
        let (mut symbols, mut relocations) = (Vec::new(), Vec::new());
        let (mut code, mut data) = (0, Vec::new());
        let mut reader = Reader(wasm.get(8..).ok_or("no module")?);
        while !reader.0.is_empty() {
            let id = reader.byte()?;
            let content = reader.bytes()?;
            let start = wasm.len() - reader.0.len() - content.len();
            let mut content = Reader(content);
            match id {
                0 => match content.bytes()? {
                    b"linking" => symbols = read_symbols(content)?,
                    b"reloc.CODE" | b"reloc.DATA" => relocations.push(content),
                    _ => {}
                },
                10 => code = start,
                11 => data = read_segments(content)?,
                _ => {}
            }
        }
        if symbols.is_empty() || relocations.len() != 2 {
            return Err("the module was linked without --emit-relocs".into());
        }
        let mut links = Self::default();
        links.known.extend(symbols.iter().flatten());
        let [of_code, of_data] = &mut relocations[..] else { return Err("relocations".into()) };
        for (at, named) in read_relocations(of_code, &symbols)? {
            links.code.insert(code + at as usize, named);
        }
        for (at, named) in read_relocations(of_data, &symbols)? {
            let (index, segment) = (0..)
                .zip(&data)
                .find(|(_, segment)| segment.contains(&at))
                .ok_or("a relocation outside of every segment")?;
            links.constants.insert((index, at - segment.start), named);
        }
        Ok(links)
    }
}

fn read_symbols(mut section: Reader<'_>) -> Result<Vec<Option<Named>>, Failure> {
    let mut symbols = Vec::new();
    section.number()?;
    while !section.0.is_empty() {
        let (kind, content) = (section.byte()?, section.bytes()?);
        let mut content = Reader(content);
        if kind != SYMBOLS {
            continue;
        }
        for _ in 0..content.number()? {
            let (kind, flags) = (content.byte()?, content.number()?);
            let defined = flags & UNDEFINED == 0;
            symbols.push(match kind {
                1 => {
                    content.bytes()?;
                    if defined {
                        let (segment, first) = (content.number()?, content.number()?);
                        Some(Named::Constant(segment, first, content.number()?))
                    } else {
                        None
                    }
                }
                3 => {
                    content.number()?;
                    None
                }
                _ => {
                    let index = content.number()?;
                    if defined || flags & EXPLICIT_NAME != 0 {
                        content.bytes()?;
                    }
                    (kind == 0).then_some(Named::Function(index))
                }
            });
        }
    }
    Ok(symbols)
}

/// Where the content of each segment lies, counted from the section's start.
fn read_segments(mut section: Reader<'_>) -> Result<Vec<Range<u32>>, Failure> {
    let whole = section.0.len();
    let mut segments = Vec::new();
    for _ in 0..section.number()? {
        if section.number()? != 0 || section.byte()? != 0x41 {
            return Err("a segment without a constant address".into());
        }
        section.number()?;
        section.byte()?;
        let content = section.bytes()?;
        let end = u32::try_from(whole - section.0.len())?;
        segments.push(end - u32::try_from(content.len())?..end);
    }
    Ok(segments)
}

fn read_relocations(
    section: &mut Reader<'_>,
    symbols: &[Option<Named>],
) -> Result<Vec<(u32, Named)>, Failure> {
    let mut found = Vec::new();
    section.number()?;
    for _ in 0..section.number()? {
        let (kind, at, index) = (section.byte()?, section.number()?, section.number()?);
        if !WITHOUT_ADDEND.contains(&kind) {
            section.number()?;
        }
        if TABLE_INDEX.contains(&kind) || MEMORY_ADDRESS.contains(&kind) {
            let named = symbols.get(index as usize).copied().flatten();
            found.extend(named.map(|named| (at, named)));
        }
    }
    Ok(found)
}

/// The parameters of each function that it never looks at.
type Unread = BTreeMap<FunctionId, Vec<bool>>;

/// Shows each instruction whose value someone looks at, and its place in the file.
struct Read<'a> {
    unread: &'a Unread,
    see: &'a mut dyn FnMut(&Instr, Option<usize>),
}

impl<'instr> Visitor<'instr> for Read<'_> {
    fn start_instr_seq(&mut self, seq: &'instr ir::InstrSeq) {
        let mut skipped = BTreeSet::new();
        for (at, (instr, _)) in seq.instrs.iter().enumerate() {
            let Instr::Call(call) = instr else { continue };
            let Some(unread) = self.unread.get(&call.func) else { continue };
            // The arguments that are pushed right before the call, last first.
            let pushes = seq.instrs[..at]
                .iter()
                .rev()
                .take_while(|(instr, _)| matches!(instr, Instr::Const(_) | Instr::LocalGet(_)));
            for ((back, _), unread) in (1..).zip(pushes).zip(unread.iter().rev()) {
                if *unread {
                    skipped.insert(at - back);
                }
            }
        }
        for (at, (instr, place)) in seq.instrs.iter().enumerate() {
            if !skipped.contains(&at) {
                // What was put in here has no place in the file.
                let place = (!place.is_default()).then(|| place.data() as usize);
                (self.see)(instr, place);
            }
        }
    }
}

fn each_read(
    function: &LocalFunction,
    unread: &Unread,
    see: &mut dyn FnMut(&Instr, Option<usize>),
) {
    ir::dfs_in_order(&mut Read { unread, see }, function, function.entry_block());
}

/// Learns which parameters nobody looks at: those of what was cut, and what is only handed on to
/// such.
fn unread(module: &Module) -> Unread {
    let mut known = Unread::new();
    loop {
        let mut next = Unread::new();
        for (id, function) in module.funcs.iter_local() {
            let mut read = BTreeSet::new();
            each_read(function, &known, &mut |instr, _| {
                if let Instr::LocalGet(get) = instr {
                    read.insert(get.local);
                }
            });
            next.insert(id, function.args.iter().map(|arg| !read.contains(arg)).collect());
        }
        if next == known {
            return known;
        }
        known = next;
    }
}

/// What an instruction names by address.
fn named(links: &Links, instr: &Instr, place: Option<usize>) -> Option<usize> {
    // Behind the opcode; of an access, behind its alignment too.
    let at = match instr {
        Instr::Const(_) => place? + 1,
        Instr::Load(_) | Instr::Store(_) => place? + 2,
        _ => return None,
    };
    links.code.contains_key(&at).then_some(at)
}

/// What is reached from the exports: functions whose address is taken, and constants.
fn reached(module: &Module, links: &Links, functions: &[FunctionId]) -> BTreeSet<Named> {
    let unread = unread(module);
    let (mut called, mut found) = (BTreeSet::new(), BTreeSet::new());
    let mut next: Vec<FunctionId> = module.start.into_iter().collect();
    next.extend(module.exports.iter().filter_map(|export| match export.item {
        ExportItem::Function(id) => Some(id),
        _ => None,
    }));
    let mut constants = Vec::new();
    while let Some(id) = next.pop() {
        if !called.insert(id) {
            continue;
        }
        if let FunctionKind::Local(function) = &module.funcs.get(id).kind {
            each_read(function, &unread, &mut |instr, place| {
                if let Instr::Call(call) = instr {
                    next.push(call.func);
                }
                constants.extend(named(links, instr, place).map(|at| links.code[&at]));
            });
        }
        while let Some(name) = constants.pop() {
            if !found.insert(name) {
                continue;
            }
            match name {
                Named::Function(index) => next.extend(functions.get(index as usize)),
                Named::Constant(segment, first, size) => {
                    let own = (segment, first)..(segment, first + size);
                    constants.extend(links.constants.range(own).map(|(_, name)| *name));
                }
            }
        }
    }
    found
}

/// A module as the linker left it.
pub(crate) struct Linked {
    links: Links,
    /// By their numbers in the file.
    functions: Vec<FunctionId>,
}

impl Linked {
    /// Reads who names whom.
    pub(crate) fn read(wasm: &[u8], module: &Module) -> Result<Self, Failure> {
        let links = Links::read(wasm)?;
        let mut seen = 0;
        for (_, function) in module.funcs.iter_local() {
            each_read(function, &Unread::new(), &mut |instr, place| {
                seen += usize::from(named(&links, instr, place).is_some());
            });
        }
        if seen != links.code.len() {
            return Err("a relocation in no instruction that is known to have one".into());
        }
        let functions = module.funcs.iter().map(|function| function.id()).collect();
        Ok(Self { links, functions })
    }

    /// Clears what nothing that is left reaches.
    pub(crate) fn clear(&self, module: &mut Module) {
        let reached = reached(module, &self.links, &self.functions);
        let addressed: BTreeSet<_> = reached
            .iter()
            .filter_map(|name| match name {
                Named::Function(index) => self.functions.get(*index as usize),
                Named::Constant(..) => None,
            })
            .collect();
        let trap = FunctionBuilder::new(&mut module.types, &[], &[]);
        let trap = {
            let mut builder = trap;
            builder.func_body().unreachable();
            builder.finish(Vec::new(), &mut module.funcs)
        };
        for element in module.elements.iter_mut() {
            if let ElementItems::Functions(functions) = &mut element.items {
                for id in functions {
                    if !addressed.contains(&*id) {
                        *id = trap;
                    }
                }
            }
        }
        let segments: Vec<_> = module.data.iter().map(|data| data.id()).collect();
        for (index, id) in (0..).zip(segments) {
            let data = module.data.get_mut(id);
            let spans = |constants: &BTreeSet<Named>| -> Vec<_> {
                let own = constants.iter().filter_map(|name| match name {
                    Named::Constant(segment, first, size) if *segment == index => {
                        Some(*first as usize..(*first + *size) as usize)
                    }
                    _ => None,
                });
                own.collect()
            };
            // What belongs to no known constant stays.
            let mut kept = data.value.clone();
            spans(&self.links.known).into_iter().for_each(|span| kept[span].fill(0));
            for span in spans(&reached) {
                kept[span.clone()].copy_from_slice(&data.value[span]);
            }
            data.value = kept;
        }
        // They are true no more.
        for name in ["linking", "reloc.CODE", "reloc.DATA"] {
            module.customs.remove_raw(name);
        }
        walrus::passes::gc::run(module);
    }
}
