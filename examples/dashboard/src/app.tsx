import { WardlineProvider } from '@wardline/client/react';
import { useMemo, useState, type FormEvent } from 'react';
import { Activity } from './activity';
import { Alerts } from './alerts';
import { Cameras } from './cameras';
import { Header } from './header';
import { Fleet } from './fleet';
import { Metrics } from './metrics';
import { Outbox } from './outbox';
import { ProofProvider } from './proof';
import { sessionOf, type Session } from './session';
import { Toasts } from './toasts';

export function App() {
  const [session, setSession] = useState<Session | null>(() => sessionOf(location));
  const options = useMemo(() => session && { url: session.url, token: session.token, outbox: 'wardline-dashboard' }, [session]);
  if (!session || !options) return <Door onEnter={setSession} />;
  return (
    <WardlineProvider options={options}>
      <Toasts>
        {/* Not by the address: it holds the session. */}
        <button className="skip" onClick={() => document.getElementById('alerts')?.focus()}>
          Skip to alerts
        </button>
        <ProofProvider>
          <Header control={session.control} />
          <main className="room">
            <Cameras />
            <Fleet />
            <Alerts />
            <Metrics />
            <Outbox />
            <Activity />
          </main>
        </ProofProvider>
      </Toasts>
    </WardlineProvider>
  );
}

function Door({ onEnter }: { onEnter: (session: Session) => void }) {
  const enter = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    onEnter({ url: String(fields.get('url')), token: String(fields.get('token')).trim(), control: null });
  };
  return (
    <main className="door">
      <form onSubmit={enter} className="panel">
        <h1>Control room</h1>
        <p>Start a server with <code>wardline-server serve --dev</code>; it prints both.</p>
        <label>
          Server
          <input name="url" required defaultValue={location.origin.replace(/^http/, 'ws')} inputMode="url" />
        </label>
        <label>
          Token
          <input name="token" required autoComplete="off" spellCheck={false} autoFocus />
        </label>
        <button className="primary">Enter</button>
      </form>
    </main>
  );
}
