/** Events as text. */
import { isToldOfOldRun } from './oldRecords.ts';
import type { EventLine } from './runLines.ts';

/** Leaves out memberships that the preceding loss already announced as its action. */
export function withoutRepeats(events: readonly EventLine[]): EventLine[] {
  return events.filter(({ isTold }, at) => isTold !== true && !isToldOfOldRun(events, at));
}

/** The event, its likely cause and the action taken. */
export function eventText({ reason, cause, action }: EventLine): string {
  const isNews = cause !== undefined && !reason.includes(cause);
  return [reason, ...(isNews ? [cause] : []), ...(action === undefined ? [] : [action])].join('; ');
}
