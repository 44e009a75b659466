/** What a client did wrong, or cannot have now, in the shape in which OpenAI's clients expect it. */
import { HttpError } from '../web/httpError.ts';

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

export class ApiError extends HttpError {
  override readonly name = 'ApiError';
  readonly type: ApiErrorType | undefined;
  readonly param: string | null;

  constructor(message: string, { status, type, param, code, retryAfterSeconds }: ApiErrorOptions) {
    const headers = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
    super(message, { status, code: code ?? null, headers });
    this.type = type;
    this.param = param ?? null;
  }
}

/** The body of the response that tells of an error. */
export function errorBody(error: HttpError): object {
  const { type, param } = error instanceof ApiError ? error : { type: undefined, param: null };
  const fallback: ApiErrorType = error.status < 500 ? 'invalid_request_error' : 'server_error';
  return { error: { message: error.message, type: type ?? fallback, param, code: error.code } };
}

/** 400 for one parameter. */
export function invalid(param: string, message: string): ApiError {
  return new ApiError(`${param}: ${message}`, { status: 400, param });
}
