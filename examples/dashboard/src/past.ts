import type { Message } from '@wardline/client';
import { useClient, useConnection } from '@wardline/client/react';
import { useEffect, useRef } from 'react';

/** Hands over, once, the newest page of a namespace's room, so that a page that was just opened is not empty. */
export function usePast(namespace: string, take: (messages: Message[]) => void): void {
  const client = useClient();
  const { tenantId } = useConnection();
  const latest = useRef(take);
  const taken = useRef(false);
  useEffect(() => {
    latest.current = take;
  });
  useEffect(() => {
    if (!tenantId || taken.current) return;
    taken.current = true;
    client.history(`${namespace}/tenant:${tenantId}`, { limit: 256 }).then(
      ({ messages }) => latest.current(messages),
      // The page fills by itself as events come.
      () => {},
    );
  }, [client, namespace, tenantId]);
}
