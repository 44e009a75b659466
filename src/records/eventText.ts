/** Events as people read them. */
import { isToldOfOldRun } from './oldRecords.ts';
import type { EventLine } from './runLines.ts';

/** Without memberships that the loss before them has told of: its action is what they say. */
export function withoutRepeats(events: readonly EventLine[]): EventLine[] {
  return events.filter(({ isTold }, at) => isTold !== true && !isToldOfOldRun(events, at));
}

/** What happened, what lies behind it and what is done about it. */
export function eventText({ reason, cause, action }: EventLine): string {
  const isNews = cause !== undefined && !reason.includes(cause);
  return [reason, ...(isNews ? [cause] : []), ...(action === undefined ? [] : [action])].join('; ');
}
