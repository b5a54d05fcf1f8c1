#define _GNU_SOURCE
#include "CMemory.h"

#include <stddef.h>

#ifdef __linux__
#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Segments that are not writable have nothing that the file has not: what the loader relocates is in
   a writable one, also where it is protected afterwards. The loader keeps objects from being unloaded
   meanwhile. */
static int unmap_code(struct dl_phdr_info *object, size_t size, void *unused) {
  (void)size;
  (void)unused;
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  for (int index = 0; index < object->dlpi_phnum; index++) {
    if (object->dlpi_phdr[index].p_type != PT_DYNAMIC) continue;
    const ElfW(Dyn) *entry = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[index].p_vaddr);
    for (; entry->d_tag != DT_NULL; entry++)
      if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL)))
        return 0;
  }
  for (int index = 0; index < object->dlpi_phnum; index++) {
    const ElfW(Phdr) *segment = &object->dlpi_phdr[index];
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W)) continue;
    /* Whole pages of this segment only: one at a border may be another's, too. */
    uintptr_t start = object->dlpi_addr + segment->p_vaddr;
    uintptr_t end = (start + segment->p_filesz) & ~(page - 1);
    start = (start + page - 1) & ~(page - 1);
    /* Where the system does not do it, all stays as it is. */
    if (start < end) (void)madvise((void *)start, end - start, MADV_DONTNEED);
  }
  return 0;
}
#endif

void shiplog_memory_configure(void) {
#ifdef __GLIBC__
  /* Fixes the bound for buffers that are mapped by themselves as well, at 128 KiB. */
  mallopt(M_TRIM_THRESHOLD, 256 << 10);
#endif
}

void shiplog_memory_trim(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void shiplog_memory_unmap_code(void) {
#ifdef __linux__
  dl_iterate_phdr(unmap_code, NULL);
#endif
}
