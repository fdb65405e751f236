// The browser's storage, which may be switched off: then nothing is kept, and nothing breaks.

export const forTab = kept(() => sessionStorage);
export const forBrowser = kept(() => localStorage);

function kept(storage: () => Storage) {
  return {
    get(key: string): string | null {
      try {
        return storage().getItem(`portcullis.${key}`);
      } catch {
        return null;
      }
    },
    set(key: string, value: string | null): void {
      try {
        if (value === null) storage().removeItem(`portcullis.${key}`);
        else storage().setItem(`portcullis.${key}`, value);
      } catch {
        // Not kept.
      }
    },
  };
}
