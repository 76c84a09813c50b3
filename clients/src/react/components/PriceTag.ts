'use client';
export { PriceTag, PriceTag as default, type PriceTagProps } from '../marks.js';
