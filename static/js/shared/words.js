// Formats numbers, sizes and times as the pages show them.

/** @param {number} count */
export const number = (count) => count.toLocaleString("en");

/**
 * @param {number} count
 * @param {string} one
 * @param {string} more
 */
export const many = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;

/** @param {number} bytes */
export const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB`
  : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

/**
 * The remaining time in words.
 * @param {number} seconds
 * @param {number} now Milliseconds.
 */
export function leftWords(seconds, now = Date.now()) {
  if (seconds < 50) return "Less than a minute left";
  const minutes = Math.round(seconds / 60);
  const long = minutes < 60 ? `${minutes || 1} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  const until = new Date(now + seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  return `About ${long} left${minutes > 1 ? `, until ${until}` : ""}`;
}

/**
 * The day of a moment in a time zone, as "2026-03-01".
 * @param {number} moment Milliseconds.
 * @param {string | undefined} timeZone
 */
export const dayIn = (moment, timeZone) => new Intl.DateTimeFormat("en-CA", { timeZone, year: "numeric", month: "2-digit", day: "2-digit" }).format(moment);

/**
 * A day's heading.
 * @param {string} day
 * @param {string | undefined} timeZone
 * @param {number} now Milliseconds.
 */
export function dayWords(day, timeZone, now = Date.now()) {
  const today = dayIn(now, timeZone);
  if (day === today) return "Today";
  if (day === dayIn(now - 86_400_000, timeZone)) return "Yesterday";
  const [year, month, number] = day.split("-").map(Number);
  const noon = new Date(Date.UTC(year, month - 1, number, 12));
  const word = (/** @type {Intl.DateTimeFormatOptions} */ part) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...part }).format(noon);
  const words = `${number} ${word({ month: "long" })}`;
  return day.slice(0, 4) === today.slice(0, 4) ? `${word({ weekday: "long" })}, ${words}` : `${words} ${year}`;
}
