export interface MoneyProps {
  /** An ISO 4217 code, such as `EUR`. By default `USD`. */
  currency?: string | undefined;
}

/** An amount of money. */
export function money(amount: number, locale: string, currency = 'USD'): string {
  return amount.toLocaleString(locale, { style: 'currency', currency });
}
