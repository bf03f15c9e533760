import type { OutboxItem } from '@wardline/client';
import { useConnection, useEvent, useOutbox, useRoom } from '@wardline/client/react';
import { createContext, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from 'react';

const ROOM = 'control-room';
/** How long a recovery is told. */
const TOLD = 25_000;

/** A note this device sent, and how far it came. */
export interface Note extends Omit<OutboxItem, 'state'> {
  /** `delivered`: it came back from the room's log, as to everyone in it. */
  state: OutboxItem['state'] | 'delivered';
  /** None where an earlier page wrote it and it has not come back. */
  text?: string;
}

/** What became of an outage: how long it was, and what arrived since it began. */
export interface Recovery {
  seconds: number;
  notes: number;
  readings: number;
}

interface Proof {
  notes: Note[];
  waiting: number;
  delivered: number;
  /** Notes and readings that came twice. */
  doubled: number;
  readings: number;
  /** Readings that never came: the site counts them, so that a hole shows. */
  missing: number;
  /** Since when nothing comes; null while connected. */
  darkSince: number | null;
  recovery: Recovery | null;
  write: (text: string) => void;
}

const Context = createContext<Proof | null>(null);

/** What was sent and what arrived, counted, so that a person sees that nothing gets lost. */
export function useProof(): Proof {
  const proof = useContext(Context);
  if (!proof) throw new Error('outside of <ProofProvider>');
  return proof;
}

function useReadings(): { seen: number; missing: number; doubled: number } {
  const [counts, setCounts] = useState({ seen: 0, missing: 0, doubled: 0 });
  const last = useRef<number | null>(null);
  useEvent('monitoring', 'metrics:update', ({ values }) => {
    const number = values?.find(({ name }) => name === 'reading')?.value;
    if (number === undefined) return;
    const before = last.current;
    if (before === null || number > before) last.current = number;
    setCounts(({ seen, missing, doubled }) => ({
      seen: seen + 1,
      missing: missing + (before === null || number <= before ? 0 : number - before - 1),
      doubled: doubled + (before !== null && number <= before ? 1 : 0),
    }));
  });
  return counts;
}

function drawId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
}

export function ProofProvider({ children }: { children: ReactNode }) {
  const { connected } = useConnection();
  const outbox = useOutbox();
  const { messages, send } = useRoom(ROOM, { keep: 1000 });
  const readings = useReadings();
  const texts = useRef(new Map<string, string>());
  const number = useRef(0);

  const back = useMemo(() => new Map(messages.map(message => [message.id ?? '', message])), [messages]);
  const notes = useMemo(
    () =>
      outbox
        .filter(({ event }) => event === 'note')
        .map((item): Note => {
          const returned = back.get(item.id);
          const text = texts.current.get(item.id) ?? (returned?.data as { text?: string } | undefined)?.text;
          return { ...item, state: returned ? 'delivered' : item.state, ...(text === undefined ? {} : { text }) };
        }),
    [outbox, back],
  );
  const waiting = notes.filter(({ state }) => state === 'queued').length;
  const delivered = notes.filter(({ state }) => state === 'delivered').length;
  const doubled = messages.length - back.size + readings.doubled;

  // What stood when the link was lost, to say afterwards what came since.
  const [before, setBefore] = useState<{ at: number; until: number | null; delivered: number; seen: number } | null>(null);
  const latest = useRef({ delivered, seen: readings.seen });
  const was = useRef(false);
  useEffect(() => {
    latest.current = { delivered, seen: readings.seen };
  });
  useEffect(() => {
    if (connected === was.current) return;
    was.current = connected;
    if (!connected) return setBefore(before => (before?.until === null ? before : { at: Date.now(), until: null, ...latest.current }));
    setBefore(before => before && { ...before, until: Date.now() });
    const timer = setTimeout(() => setBefore(before => (before?.until === null ? before : null)), TOLD);
    return () => clearTimeout(timer);
  }, [connected]);

  const write = (text: string): void => {
    const id = drawId();
    texts.current.set(id, text);
    // A note that fails shows so in the panel.
    send('note', { text, n: ++number.current }, { id }).catch(() => {});
  };
  const proof: Proof = {
    notes,
    waiting,
    delivered,
    doubled,
    readings: readings.seen,
    missing: readings.missing,
    darkSince: before && before.until === null ? before.at : null,
    recovery:
      before && before.until !== null
        ? { seconds: (before.until - before.at) / 1000, notes: delivered - before.delivered, readings: readings.seen - before.seen }
        : null,
    write,
  };
  return <Context.Provider value={proof}>{children}</Context.Provider>;
}
