import { useConnection, useCountdown, usePresence } from '@wardline/client/react';
import { useEffect, useState, useSyncExternalStore, type CSSProperties } from 'react';
import { network } from './network';
import { useProof } from './proof';
import { clock, span, useNow } from './time';
import { useToast } from './toasts';

const WORDS = {
  connecting: 'Connecting',
  connected: 'Live',
  reconnecting: 'Reconnecting',
  disconnected: 'Offline',
  unauthenticated: 'Signed out',
} as const;
/** Names that are spelled out; more are counted. */
const NAMED = 4;

export function Header({ control }: { control: string | null }) {
  const { status } = useConnection();
  return (
    <header className="top" data-status={status}>
      <div className="brand">
        <svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true">
          <rect width="32" height="32" rx="8" fill="var(--accent)" />
          <path d="M7 11l4 11 5-9 5 9 4-11" fill="none" stroke="var(--accent-ink)" strokeWidth="2.6" strokeLinejoin="round" strokeLinecap="round" />
        </svg>
        <h1>
          Wardline <span>control room</span>
        </h1>
      </div>
      <Connection />
      <People />
      <Faults control={control} />
      <Theme />
      <Clock />
    </header>
  );
}

function Connection() {
  const { status, reason, attempt, durability, retryIn } = useConnection();
  const left = useCountdown();
  const title = `${WORDS[status]} · Wardline control room`;
  useEffect(() => {
    document.title = title;
  }, [title]);
  const share = left === null || !retryIn ? 0 : left / retryIn;
  return (
    <div className="link" data-status={status}>
      <span className="dot" aria-hidden="true" />
      <strong role="status">{WORDS[status]}</strong>
      {left !== null && (
        <span className="countdown num" title={reason || undefined} style={{ '--share': share } as CSSProperties}>
          attempt {attempt} in {(left / 1000).toFixed(1)} s
        </span>
      )}
      <Situation />
      {durability === 'volatile' && <span className="chip" data-tone="warn">outbox in memory only</span>}
    </div>
  );
}

/** What the link means for a person: what waits, what is old, what came back. */
function Situation() {
  const { status, since } = useConnection();
  const { waiting, readings, missing, doubled, darkSince, recovery } = useProof();
  const now = useNow(1000);
  const verdict = (
    <>
      <b data-tone={missing > 0 ? 'bad' : 'good'}>{missing} missing</b>, <b data-tone={doubled > 0 ? 'bad' : 'good'}>{doubled} doubled</b>
    </>
  );
  if (darkSince !== null) {
    return (
      <span className="situation num">
        Showing {clock(darkSince)}
        {waiting > 0 && (
          <>
            ; <b data-tone="warn">{count(waiting, 'note')}</b> wait here
          </>
        )}
      </span>
    );
  }
  if (recovery) {
    return (
      <span className="situation num">
        Back after {span(recovery.seconds * 1000)}: {recovery.notes > 0 && <>{count(recovery.notes, 'note')}, </>}
        {count(recovery.readings, 'reading')} since; {verdict}
      </span>
    );
  }
  if (status !== 'connected') return <span className="situation" />;
  return (
    <span className="situation num">
      for {span(now - since)}; {count(readings, 'reading')}, {verdict}
    </span>
  );
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;

function People() {
  const { tenantId, userId } = useConnection();
  return tenantId ? <Present room={`tenant:${tenantId}`} own={userId ?? ''} /> : <div className="people" />;
}

function Present({ room, own }: { room: string; own: string }) {
  const [status, setStatus] = useState<'online' | 'away' | 'busy'>('online');
  const members = usePresence(room, { status, metadata: { page: 'control room' } });
  const people = [...members].sort((a, b) => a.userId.localeCompare(b.userId));
  return (
    <div className="people">
      <ul aria-label={`${people.length} present`}>
        {people.slice(0, NAMED).map(({ userId, status }) => (
          <li key={userId} data-presence={status} title={`${userId}: ${status}`}>
            {userId}
            {userId === own && <span className="quiet"> you</span>}
            <span className="sr">, {status}</span>
          </li>
        ))}
        {people.length > NAMED && <li className="more">and {people.length - NAMED}</li>}
      </ul>
      <label>
        <span className="sr">Your status</span>
        <select value={status} onChange={event => setStatus(event.target.value as typeof status)}>
          <option value="online">Online</option>
          <option value="away">Away</option>
          <option value="busy">Busy</option>
        </select>
      </label>
    </div>
  );
}

function Faults({ control }: { control: string | null }) {
  const cut = useSyncExternalStore(network.subscribe, () => network.cut);
  const [busy, setBusy] = useState(false);
  const say = useToast();
  const order = async (what: 'restart' | 'kill') => {
    setBusy(true);
    say(what === 'kill' ? 'The server is killed with -9; it comes back in 2 s' : 'The server restarts; it comes back in 2 s');
    const done = await fetch(`${control}/${what}`, { method: 'POST' }).then(
      answer => answer.ok,
      () => false,
    );
    setBusy(false);
    say(done ? 'The server is back' : 'The demo did not answer', done ? 'plain' : 'bad');
  };
  return (
    <div className="faults" role="group" aria-label="Faults to try">
      <button aria-pressed={cut} className={cut ? 'danger' : ''} onClick={() => network.set(!cut)}>
        {cut ? 'Plug network in' : 'Cut network'}
      </button>
      {control && (
        <>
          <button disabled={busy} onClick={() => void order('restart')}>
            Restart server
          </button>
          <button disabled={busy} onClick={() => void order('kill')}>
            Kill server
          </button>
        </>
      )}
    </div>
  );
}

function Theme() {
  const [theme, setTheme] = useState(() => localStorage.getItem('theme') ?? 'auto');
  useEffect(() => {
    document.documentElement.dataset['theme'] = theme;
    localStorage.setItem('theme', theme);
    dispatchEvent(new Event('themechange'));
  }, [theme]);
  return (
    <label className="theme">
      <span className="sr">Colours</span>
      <select value={theme} onChange={event => setTheme(event.target.value)}>
        <option value="auto">Auto</option>
        <option value="dark">Dark</option>
        <option value="light">Light</option>
      </select>
    </label>
  );
}

function Clock() {
  const now = useNow(1000);
  return <time className="clock num">{clock(now)}</time>;
}
