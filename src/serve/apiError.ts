/** What a client did wrong, or cannot have now, in the shape in which OpenAI's clients expect it. */

export type ApiErrorType = 'invalid_request_error' | 'authentication_error' | 'rate_limit_error' | 'server_error';

export interface ApiErrorOptions {
  /** The status of the response. */
  readonly status: number;
  readonly type?: ApiErrorType;
  /** The parameter that is wrong. */
  readonly param?: string;
  readonly code?: string;
  /** After how many seconds another try may succeed. */
  readonly retryAfterSeconds?: number;
}

export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly options: ApiErrorOptions;

  constructor(message: string, options: ApiErrorOptions) {
    super(message);
    this.options = options;
  }

  /** The body of the response. */
  get body(): object {
    const { type = 'invalid_request_error', param = null, code = null } = this.options;
    return { error: { message: this.message, type, param, code } };
  }
}

/** 400 for one parameter. */
export function invalid(param: string, message: string): ApiError {
  return new ApiError(`${param}: ${message}`, { status: 400, param });
}
