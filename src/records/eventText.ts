/** Events as people read them. */
import type { EventLine } from './runLines.ts';

/** Events between a loss and the membership that follows it. */
const between = 3;

/** Without memberships that the loss before them has told of: its action is what they say. */
export function withoutRepeats(events: readonly EventLine[]): EventLine[] {
  return events.filter(({ event, reason }, i) => {
    const before = events.slice(Math.max(0, i - between), i);
    return event !== 'term' || !before.some((one) => one.action !== undefined && reason.startsWith(`${one.reason}: `));
  });
}

/** What happened, what lies behind it and what is done about it. */
export function eventText({ reason, cause, action }: EventLine): string {
  const isNews = cause !== undefined && !reason.includes(cause);
  return [reason, ...(isNews ? [cause] : []), ...(action === undefined ? [] : [action])].join('; ');
}
