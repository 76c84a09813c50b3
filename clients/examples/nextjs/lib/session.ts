// Who is signed in. A real shop asks its own sign-in; here everybody is the manager of the shop.
export interface User {
  id: string;
  role: 'admin' | 'manager' | 'staff' | 'customer' | 'guest';
}

export async function currentUser(): Promise<User | undefined> {
  return { id: 'user_1', role: 'manager' };
}
