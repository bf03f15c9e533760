import { useConnection, useCountdown, usePresence } from '@wardline/client/react';
import { useEffect, useState, useSyncExternalStore } from 'react';
import { network } from './network';
import { useToast } from './toasts';

const WORDS = {
  connecting: 'Connecting',
  connected: 'Live',
  reconnecting: 'Reconnecting',
  disconnected: 'Offline',
  unauthenticated: 'Signed out',
} as const;

export function Header({ control }: { control: string | null }) {
  return (
    <header className="top">
      <div className="brand">
        <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
          <rect width="32" height="32" rx="8" fill="var(--accent)" />
          <path d="M7 11l4 11 5-9 5 9 4-11" fill="none" stroke="#fff" strokeWidth="2.6" strokeLinejoin="round" strokeLinecap="round" />
        </svg>
        <h1>
          Wardline <span>control room</span>
        </h1>
      </div>
      <Connection />
      <People />
      <Faults control={control} />
      <Theme />
    </header>
  );
}

function Connection() {
  const { status, reason, attempt, durability } = useConnection();
  const left = useCountdown();
  const seconds = left === null ? null : (left / 1000).toFixed(1);
  return (
    <div className="link" data-status={status}>
      <span className="dot" aria-hidden="true" />
      <strong role="status">{WORDS[status]}</strong>
      {seconds !== null && (
        <span className="countdown num" title={reason || undefined}>
          attempt {attempt} in {seconds} s
        </span>
      )}
      {durability === 'volatile' && <span className="chip warn">outbox in memory only</span>}
    </div>
  );
}

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
        {people.slice(0, 6).map(({ userId, status }) => (
          <li key={userId} data-presence={status} title={`${userId}: ${status}`}>
            <span aria-hidden="true">{userId.slice(0, 2).toUpperCase()}</span>
            <span className="sr">
              {userId}
              {userId === own ? ' (you)' : ''}, {status}
            </span>
          </li>
        ))}
        {people.length > 6 && <li className="more">+{people.length - 6}</li>}
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
