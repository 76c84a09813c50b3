import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { MyComponent } from '../../samples/BasicConnection.js';

createRoot(document.getElementById('root') as HTMLElement).render(
  <StrictMode>
    <MyComponent />
    <MyComponent />
  </StrictMode>,
);
