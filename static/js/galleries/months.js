// Where months are on a gallery's bar, as pure functions.

/** Labels of two years are at least so far apart, as a share of the bar. */
const LABEL_ROOM = 0.035;

/**
 * The months with their share of the bar, by their number of photos, and whether the year's label is
 * at a month: it is at the first one of a year, where there is room.
 * @template {{ month: string, count: number }} M
 * @param {readonly M[]} months Newest first, as "2026-03".
 */
export function spreadMonths(months) {
  const total = months.reduce((sum, { count }) => sum + count, 0);
  let sum = 0;
  let room = -1;
  let year = "";
  return months.map((month) => {
    const top = sum / total;
    sum += month.count;
    const isLabelled = month.month.slice(0, 4) !== year && top > room;
    if (isLabelled) {
      year = month.month.slice(0, 4);
      room = top + LABEL_ROOM;
    }
    return { ...month, top, bottom: sum / total, isLabelled };
  });
}
