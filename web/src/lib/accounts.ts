// Accounts, which come in pages.
import type { User } from "../gen/schema/v1alpha1/user_pb";
import { users } from "./api";

/** All accounts. */
export async function allUsers(): Promise<User[]> {
  const found: User[] = [];
  let pageToken = "";
  do {
    const page = await users.listUsers({ pageToken });
    found.push(...page.users);
    pageToken = page.nextPageToken ?? "";
  } while (pageToken);
  return found;
}
