/** What a caller can do about an error. */
export type ErrorKind =
  | 'invalid'
  | 'refused'
  | 'later'
  | 'unauthenticated'
  | 'uncertain'
  | 'closed';

/** An error with a stable code; each has a page in `docs/errors`. */
export class WardlineError extends Error {
  readonly code: string;
  readonly kind: ErrorKind;

  constructor(code: string, reason: string, kind: ErrorKind = 'invalid') {
    super(reason);
    this.name = 'WardlineError';
    this.code = code;
    this.kind = kind;
  }

  /** Whether the same call may succeed later although nothing is changed. */
  get retryable(): boolean {
    return this.kind === 'later';
  }
}

export const closed = (): WardlineError =>
  new WardlineError('closed', 'the client has ended', 'closed');
