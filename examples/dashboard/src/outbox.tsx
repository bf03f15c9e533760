import type { OutboxItem } from '@wardline/client';
import { useClient, useConnection, useEvent, useOutbox, useRoom } from '@wardline/client/react';
import { useMemo, useRef, useState, type FormEvent } from 'react';
import { Panel } from './panel';
import { clock } from './time';

const ROOM = 'control-room';

/** Numbers that must follow each other, as the site counts its readings. */
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

const WORDS: Record<string, string> = { queued: 'waiting', accepted: 'accepted', delivered: 'delivered' };

export function Outbox() {
  const client = useClient();
  const { connected } = useConnection();
  const outbox = useOutbox();
  const { messages, send } = useRoom(ROOM, { keep: 500 });
  const readings = useReadings();
  const [text, setText] = useState('');
  const count = useRef(0);
  const back = useMemo(() => new Map(messages.map(message => [message.id ?? '', message])), [messages]);
  const notes = outbox.filter(item => item.event === 'note');
  const waiting = notes.filter(({ state }) => state === 'queued').length;
  const delivered = notes.filter(({ id }) => back.has(id)).length;
  const doubled = messages.length - back.size;
  const note = (words: string) => void send('note', { text: words, n: ++count.current }).catch(() => {});
  const submit = (event: FormEvent) => {
    event.preventDefault();
    note(text.trim() || 'Seen at the gate');
    setText('');
  };
  const stateOf = (item: OutboxItem) => (back.has(item.id) ? 'delivered' : item.state);
  return (
    <Panel
      name="outbox"
      title="Outbox"
      aside={
        <dl className="proof">
          <Figure name="waiting" value={waiting} />
          <Figure name="delivered" value={delivered} good />
          <Figure name="doubled" value={doubled} bad={doubled > 0} />
          <Figure name="readings" value={readings.seen} />
          <Figure name="missing" value={readings.missing} bad={readings.missing > 0} />
        </dl>
      }
    >
      <form className="compose" onSubmit={submit}>
        <label className="grow">
          <span className="sr">Note for the log</span>
          <input value={text} onChange={event => setText(event.target.value)} placeholder="Note for the log" maxLength={200} />
        </label>
        <button className="primary">Send</button>
        <button type="button" onClick={() => Array.from({ length: 20 }, (_, index) => note(`Burst ${index + 1} of 20`))}>
          Send 20
        </button>
      </form>
      {notes.length === 0 ? (
        <p className="empty">Cut the network, send, plug it in again: each note arrives once.</p>
      ) : (
        <ol className="items" aria-label="Sent notes and how they stand">
          {notes
            .slice(-40)
            .reverse()
            .map(item => {
              const state = stateOf(item);
              return (
                <li key={item.id} data-state={state}>
                  <span className="state">{WORDS[state] ?? state}</span>
                  <code className="num">{item.id.slice(0, 8)}</code>
                  <span className="num quiet">{item.seq === undefined ? (connected ? 'on its way' : 'stored') : `no. ${item.seq}`}</span>
                  <span className="num quiet right">{item.queuedAt ? clock(item.queuedAt) : 'earlier'}</span>
                </li>
              );
            })}
        </ol>
      )}
      <p className="foot quiet">
        {client.durability === 'durable' ? 'Stored on this device before it is sent; survives a reload.' : 'Kept in memory: this tab could not have the store.'}
      </p>
    </Panel>
  );
}

function Figure({ name, value, good, bad }: { name: string; value: number; good?: boolean; bad?: boolean }) {
  return (
    <div data-tone={bad ? 'bad' : good ? 'good' : undefined}>
      <dt>{name}</dt>
      <dd className="num">{value}</dd>
    </div>
  );
}
