// A description that is saved by itself: a field with `defaultValue`, so that what is typed into it is not replaced by what somebody else saves.
import { tick } from "svelte";
import { act } from "./act.svelte";

export async function describe(event: SubmitEvent, save: (description: string) => Promise<unknown>, refresh: () => Promise<void>): Promise<void> {
  event.preventDefault();
  const form = event.currentTarget as HTMLFormElement;
  const field = form.elements.namedItem("description") as HTMLInputElement;
  const description = field.value;
  const isDone = await act(() => save(description), "action.saved");
  await refresh();
  await tick();
  // What is saved follows the BMC again, unless somebody types on.
  if (isDone && field.value === description && field.defaultValue === description) form.reset();
}
