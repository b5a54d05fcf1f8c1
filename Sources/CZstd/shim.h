// libzstd of the system: the package libzstd-dev.
#include <zstd.h>
