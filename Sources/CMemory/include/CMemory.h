#ifndef SHIPLOG_MEMORY_H
#define SHIPLOG_MEMORY_H

/* Has the allocator keep little of what is freed. Left alone it raises its bounds with the largest
   buffer that it has seen, and then keeps as much free at the end of every arena, where trimming does
   not reach. To be called before there are threads. */
void shiplog_memory_configure(void);

/* Gives the system back what the allocator holds and nobody uses. Allocations of other threads may
   wait for that, for milliseconds. Nothing where the allocator is not glibc's. */
void shiplog_memory_trim(void);

/* Gives the system back the pages of programs and libraries, as far as they are read from files: what
   is still needed is mapped again at its next use, from the page cache. */
void shiplog_memory_unmap_code(void);

/* Has the processor fetch what is about to be read there, without waiting for it. */
static inline void shiplog_memory_prefetch(const void *address) { __builtin_prefetch(address); }
static inline void shiplog_memory_prefetch_for_write(const void *address) { __builtin_prefetch(address, 1); }

#endif
