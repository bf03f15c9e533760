import type { Alert } from '@wardline/client';
import { useAlerts } from '@wardline/client/react';
import { useEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import { Panel } from './panel';
import { ago, useNow } from './time';
import { useToast } from './toasts';

type View = 'open' | 'all';

export function Alerts() {
  const { alerts, live, create, acknowledge, resolve } = useAlerts();
  const [view, setView] = useState<View>('open');
  const now = useNow(5000);
  const say = useToast();
  const open = useMemo(() => alerts.filter(({ status }) => status !== 'resolved'), [alerts]);
  const shown = (view === 'open' ? open : alerts).slice(0, 60);
  useAnnouncement(open, live);
  const act = (what: Promise<unknown>, words: string) =>
    what.then(
      () => say(words),
      (error: Error) => say(error.message, 'bad'),
    );
  const keys = (alert: Alert) => (event: KeyboardEvent<HTMLLIElement>) => {
    if (event.target !== event.currentTarget) return;
    const item = event.currentTarget;
    const move = (to: Element | null) => to instanceof HTMLElement && (to.focus(), event.preventDefault());
    if (event.key === 'ArrowDown') move(item.nextElementSibling);
    if (event.key === 'ArrowUp') move(item.previousElementSibling);
    if (event.key === 'a' && alert.status === 'active') void act(acknowledge(alert.id), 'Acknowledged');
    if (event.key === 'r' && alert.status !== 'resolved') void act(resolve(alert.id), 'Resolved');
  };
  return (
    <Panel
      name="alerts"
      title="Alerts"
      aside={
        <>
          <div className="segments" role="group" aria-label="Which alerts">
            {(['open', 'all'] as const).map(choice => (
              <button key={choice} aria-pressed={view === choice} onClick={() => setView(choice)}>
                {choice === 'open' ? `Open ${open.length}` : `All ${alerts.length}`}
              </button>
            ))}
          </div>
          <button
            onClick={() =>
              void act(create({ type: 'manual', severity: 'medium', title: 'Raised by hand', source: 'control room' }), 'Alert raised')
            }
          >
            Raise
          </button>
        </>
      }
    >
      {shown.length === 0 ? (
        <div className="empty">
          {live && (
            <svg className="calm" viewBox="0 0 48 48" aria-hidden="true">
              <circle cx="24" cy="24" r="21" />
              <path d="M15 24.5l6.5 6.5L34 18" />
            </svg>
          )}
          <p>{live ? 'Nothing needs you.' : 'Reading the log…'}</p>
        </div>
      ) : (
        <ul className="list" aria-label="Alerts; arrows move, A acknowledges, R resolves">
          {shown.map(alert => (
            <li key={alert.id} tabIndex={0} className="alert" data-severity={alert.severity} data-status={alert.status} onKeyDown={keys(alert)}>
              <div className="what">
                <span className="severity">
                  <Mark severity={alert.severity ?? 'info'} />
                  {alert.severity}
                </span>
                <span className="title">{alert.title}</span>
              </div>
              <div className="meta quiet">
                <span>{alert.type}</span>
                {alert.source && <span>{alert.source}</span>}
                {alert.createdAt !== undefined && <time dateTime={new Date(alert.createdAt).toISOString()}>{ago(now - alert.createdAt)}</time>}
                {alert.status === 'acknowledged' && <span>taken by {alert.acknowledgedBy}</span>}
                {alert.status === 'resolved' && <span>resolved{alert.note ? `: ${alert.note}` : ''}</span>}
              </div>
              {alert.status !== 'resolved' && (
                <div className="do">
                  {alert.status === 'active' && (
                    <button onClick={() => void act(acknowledge(alert.id), 'Acknowledged')}>
                      Acknowledge<span className="sr"> {alert.title}</span>
                    </button>
                  )}
                  <button onClick={() => void act(resolve(alert.id), 'Resolved')}>
                    Resolve<span className="sr"> {alert.title}</span>
                  </button>
                </div>
              )}
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

/** A shape of its own for each severity: colour alone does not tell everyone. */
function Mark({ severity }: { severity: string }) {
  const path = SHAPES[severity] ?? SHAPES['info'];
  return (
    <svg className="mark" viewBox="0 0 16 16" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

const SHAPES: Record<string, string> = {
  critical: 'M5,0.8 H11 L15.2,5 V11 L11,15.2 H5 L0.8,11 V5 Z',
  high: 'M8,1 L15.4,14.6 H0.6 Z',
  medium: 'M8,0.8 L15.2,8 L8,15.2 L0.8,8 Z',
  low: 'M8,2 A6,6 0 1 1 7.99,2 Z',
  info: 'M2,6.5 H14 V9.5 H2 Z',
};

/** Tells screen readers of grave alerts that are new, and no one of those that were there before. */
function useAnnouncement(open: Alert[], live: boolean): void {
  const known = useRef<Set<string> | null>(null);
  const say = useToast();
  useEffect(() => {
    if (!live) return;
    const first = known.current === null;
    const seen = (known.current ??= new Set());
    for (const alert of open) {
      if (!first && !seen.has(alert.id) && (alert.severity === 'critical' || alert.severity === 'high')) say(`${alert.severity}: ${alert.title}`);
      seen.add(alert.id);
    }
  }, [open, live, say]);
}
