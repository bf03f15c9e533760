import { WardlineError } from './core/index.js';

export { WardlineError };

/** The codes this version knows; a server may have more. `docs/errors` has a page for each. */
export type ErrorCode =
  | 'accepted_lost' | 'bad_config' | 'bad_data' | 'bad_event' | 'bad_filter' | 'bad_params' | 'bad_room' | 'bad_status'
  | 'cancelled' | 'closed' | 'conflict' | 'disconnected' | 'expired' | 'filters' | 'forbidden' | 'forked' | 'gap' | 'handler'
  | 'internal' | 'no_handler' | 'not_found' | 'not_joined' | 'order' | 'poison' | 'queue_full' | 'rate' | 'rooms' | 'stopped'
  | 'storage' | 'timeout' | 'token_expired' | 'token_invalid' | 'token_missing' | 'token_revoked' | 'too_large'
  | 'unauthenticated' | 'unavailable' | 'uncertain' | 'unknown_method' | 'unknown_type';

/** Makes whatever was thrown a `WardlineError`. */
export function typed(thrown: unknown): WardlineError {
  if (thrown instanceof WardlineError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return failure('internal', message);
}

/** Makes an error of this package's own. */
export const failure = (code: ErrorCode, message: string): WardlineError => new WardlineError(code, message);
