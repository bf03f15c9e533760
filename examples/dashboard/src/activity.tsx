import type { Message } from '@wardline/client';
import { useClient, useEvent } from '@wardline/client/react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { Panel } from './panel';
import { usePast } from './past';
import { clock } from './time';

type Kind = 'alert' | 'video' | 'dispatch' | 'monitoring' | 'link';

interface Line {
  key: string;
  at: number;
  kind: Kind;
  words: string;
}

const KEPT = 60;

/** What an event is to a person; nothing for what the other panels show all the time. */
function describe({ event, data }: Message): string | null {
  const say = data as Record<string, string & number>;
  if (event.startsWith('alert:')) {
    const who = event === 'alert:resolved' ? say['resolvedBy'] : event === 'alert:acknowledged' ? say['acknowledgedBy'] : undefined;
    return `${say['title']}: ${event.slice('alert:'.length)}${who ? ` by ${who}` : ''}`;
  }
  switch (event) {
    case 'asset_status_changed':
      return `${say['assetId']}: ${String(say['status']).replace('_', ' ')}`;
    case 'incident_created':
      return `Incident ${say['title'] ?? say['id']}`;
    case 'threshold:breached':
      return `${say['metric']} at ${Number(say['value']).toFixed(0)}, above ${say['threshold']}`;
    case 'recording:started':
    case 'recording:stopped':
    case 'motion:detected':
    case 'stream:error':
      return `${say['cameraId']}: ${event.replace(':', ' ')}`;
    default:
      return null;
  }
}

/** What happened, newest first, whatever namespace it was in. */
export function Activity() {
  const [lines, setLines] = useState<Line[]>([]);
  const next = useRef(1);
  const client = useClient();
  const add = useCallback((added: Line[]) => {
    setLines(lines => {
      const known = new Set(lines.map(({ key }) => key));
      const all = [...added.filter(({ key }) => !known.has(key)), ...lines];
      return all.sort((a, b) => b.at - a.at).slice(0, KEPT);
    });
  }, []);
  const hear = useCallback(
    (kind: Kind, messages: Message[]) => {
      const told = messages.flatMap(message => {
        const words = describe(message);
        return words ? [{ key: message.id ?? `${message.event} ${message.timestamp}`, at: message.timestamp, kind, words }] : [];
      });
      if (told.length > 0) add(told);
    },
    [add],
  );
  useEvent('alerts', 'message', message => hear('alert', [message]));
  useEvent('video', 'message', message => hear('video', [message]));
  useEvent('dispatch', 'message', message => hear('dispatch', [message]));
  useEvent('monitoring', 'message', message => hear('monitoring', [message]));
  usePast('alerts', messages => hear('alert', messages));
  usePast('video', messages => hear('video', messages));
  usePast('dispatch', messages => hear('dispatch', messages));
  useEffect(() => {
    const tell = (words: string) => add([{ key: `link ${next.current++}`, at: Date.now(), kind: 'link', words }]);
    const stops = [
      client.on('status:change', status => tell(status)),
      client.on('system:restart', ({ reason }) => tell(`the server restarts: ${reason}`)),
      client.on('gap', ({ room }) => tell(`events of ${room} are lost`)),
      client.on('error', ({ code, message }) => tell(`${code}: ${message}`)),
    ];
    return () => stops.forEach(stop => stop());
  }, [client, add]);
  return (
    <Panel name="activity" title="Activity" aside={<span className="quiet num">{lines.length ? `last ${lines.length}` : ''}</span>}>
      {lines.length === 0 ? (
        <p className="empty">Quiet so far.</p>
      ) : (
        <ol className="feed" aria-label="What happened, newest first" tabIndex={0}>
          {lines.map(({ key, at, kind, words }) => (
            <li key={key} data-kind={kind}>
              <time className="num quiet">{clock(at)}</time>
              <span className="kind">{kind}</span>
              <span className="words">{words}</span>
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}
