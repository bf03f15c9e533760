import { useClient, useEvent } from '@wardline/client/react';
import { useCallback, useEffect, useRef, useState } from 'react';
import { Panel } from './panel';
import { clock } from './time';

interface Line {
  key: number;
  at: number;
  kind: 'alert' | 'video' | 'dispatch' | 'monitoring' | 'link';
  words: string;
}

const KEPT = 60;

/** What happened, newest first, whatever namespace it was in. */
export function Activity() {
  const [lines, setLines] = useState<Line[]>([]);
  const next = useRef(1);
  const client = useClient();
  const add = useCallback((kind: Line['kind'], words: string, at = Date.now()) => {
    const line = { key: next.current++, at, kind, words };
    setLines(lines => [line, ...lines].slice(0, KEPT));
  }, []);
  useEvent('alerts', 'message', ({ event, data, timestamp }) => {
    const { title, acknowledgedBy, resolvedBy } = data as { title?: string; acknowledgedBy?: string; resolvedBy?: string };
    const who = event === 'alert:resolved' ? resolvedBy : event === 'alert:acknowledged' ? acknowledgedBy : undefined;
    add('alert', `${event.replace('alert:', '')}${who ? ` by ${who}` : ''}: ${title}`, timestamp);
  });
  useEvent('video', 'message', ({ event, data, timestamp }) => {
    const { cameraId } = data as { cameraId?: string };
    add('video', `${event.replace(':', ' ')}${cameraId ? `, ${cameraId}` : ''}`, timestamp);
  });
  useEvent('dispatch', 'asset_status_changed', ({ assetId, status }, { timestamp }) => add('dispatch', `${assetId} is ${status.replace('_', ' ')}`, timestamp));
  useEvent('dispatch', 'incident_created', ({ id, title }, { timestamp }) => add('dispatch', `incident ${title ?? id}`, timestamp));
  useEvent('monitoring', 'threshold:breached', ({ metric, value, threshold }, { timestamp }) =>
    add('monitoring', `${metric} at ${value.toFixed(0)}, above ${threshold}`, timestamp),
  );
  useEffect(() => {
    const stops = [
      client.on('status:change', status => add('link', status)),
      client.on('system:restart', ({ reason }) => add('link', `the server restarts: ${reason}`)),
      client.on('gap', ({ room }) => add('link', `events of ${room} are lost`)),
      client.on('error', ({ code, message }) => add('link', `${code}: ${message}`)),
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
