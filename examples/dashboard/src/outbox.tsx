import { useConnection } from '@wardline/client/react';
import { useState, type FormEvent } from 'react';
import { Panel } from './panel';
import { useProof, type Note } from './proof';
import { clock } from './time';

/** The way of a note; `steps` of it are behind it. */
const STATES: Partial<Record<Note['state'], { word: string; steps: number }>> = {
  queued: { word: 'Waiting', steps: 1 },
  accepted: { word: 'Accepted', steps: 2 },
  delivered: { word: 'Delivered', steps: 3 },
};
const SHOWN = 60;

export function Outbox() {
  const { connected, durability } = useConnection();
  const { notes, waiting, delivered, doubled, readings, missing, write } = useProof();
  const [text, setText] = useState('');
  const submit = (event: FormEvent) => {
    event.preventDefault();
    write(text.trim() || 'Seen at the gate');
    setText('');
  };
  return (
    <Panel
      name="outbox"
      title="Outbox"
      aside={
        <dl className="proof">
          <Figure name="waiting" value={waiting} tone={waiting > 0 ? 'warn' : undefined} />
          <Figure name="delivered" value={delivered} tone={delivered > 0 ? 'good' : undefined} />
          <Figure name="readings" value={readings} />
          <Figure name="missing" value={missing} tone={missing > 0 ? 'bad' : undefined} />
          <Figure name="doubled" value={doubled} tone={doubled > 0 ? 'bad' : undefined} />
        </dl>
      }
    >
      <form className="compose" onSubmit={submit}>
        <label className="grow">
          <span className="sr">Note for the log</span>
          <input value={text} onChange={event => setText(event.target.value)} placeholder="Note for the log" maxLength={200} />
        </label>
        <button className="primary">Send</button>
        <button type="button" onClick={() => Array.from({ length: 20 }, (_, index) => write(`Burst ${index + 1} of 20`))}>
          Send 20
        </button>
      </form>
      {notes.length === 0 ? (
        <div className="empty">
          <Steps steps={3} />
          <p>Cut the network, send, plug it in again: each note arrives once.</p>
        </div>
      ) : (
        <ol className="items" aria-label="Sent notes and how they stand" tabIndex={0}>
          {notes
            .slice(-SHOWN)
            .reverse()
            .map(note => (
              <Line key={note.id} note={note} connected={connected} />
            ))}
        </ol>
      )}
      <p className="foot quiet">
        {durability === 'durable' ? 'Stored on this device before it is sent; survives a reload.' : 'Kept in memory: this tab could not have the store.'}
      </p>
    </Panel>
  );
}

function Line({ note, connected }: { note: Note; connected: boolean }) {
  const { word, steps } = STATES[note.state] ?? { word: note.state, steps: 0 };
  const where = note.seq !== undefined ? `no. ${note.seq}` : note.state === 'queued' ? (connected ? 'on its way' : 'stored here') : '';
  return (
    <li data-state={note.state}>
      <Steps steps={steps} />
      <span className="state">{word}</span>
      <span className="text">{note.text ?? <code className="num">{note.id.slice(0, 8)}</code>}</span>
      <span className="num quiet">{where}</span>
      <time className="num quiet">{note.queuedAt ? clock(note.queuedAt) : 'earlier'}</time>
    </li>
  );
}

/** Stored, accepted, delivered: as many of three marks as are reached. */
function Steps({ steps }: { steps: number }) {
  return (
    <span className="steps" aria-hidden="true">
      {[1, 2, 3].map(step => (
        <i key={step} data-reached={step <= steps || undefined} />
      ))}
    </span>
  );
}

function Figure({ name, value, tone }: { name: string; value: number; tone?: 'good' | 'warn' | 'bad' | undefined }) {
  return (
    <div data-tone={tone}>
      <dt>{name}</dt>
      <dd className="num">{value}</dd>
    </div>
  );
}
