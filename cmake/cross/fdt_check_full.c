/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one function of libfdt that perfvisor calls and the kernel's copy lacks, for the cross build
 * (scripts/cross-libraries): what libfdt.h says of it, by walking the tree. */
#include <libfdt.h>

int fdt_check_full(const void *fdt, size_t size)
{
    int error, offset, next = 0, depth = 0, roots = 0;
    uint32_t tag;
    const char *name;

    if (size < sizeof(struct fdt_header) || size < fdt_header_size(fdt)) return -FDT_ERR_TRUNCATED;
    error = fdt_check_header(fdt);
    if (error != 0) return error;
    if (size < fdt_totalsize(fdt)) return -FDT_ERR_TRUNCATED;
    error = fdt_num_mem_rsv(fdt);
    if (error < 0) return error;

    for (;;) {
        offset = next;
        tag = fdt_next_tag(fdt, offset, &next);
        if (next < 0) return next;
        switch (tag) {
        case FDT_BEGIN_NODE:
            if (depth++ == 0 && roots++ != 0) return -FDT_ERR_BADSTRUCTURE;
            name = fdt_get_name(fdt, offset, &error);
            if (!name) return error;
            if (depth == 1 && *name != '\0') return -FDT_ERR_BADSTRUCTURE;
            break;
        case FDT_END_NODE:
            if (depth-- == 0) return -FDT_ERR_BADSTRUCTURE;
            break;
        case FDT_PROP:
            if (depth == 0) return -FDT_ERR_BADSTRUCTURE;
            if (!fdt_getprop_by_offset(fdt, offset, NULL, &error)) return error;
            break;
        case FDT_NOP:
            break;
        case FDT_END:
            return depth == 0 && roots == 1 ? 0 : -FDT_ERR_BADSTRUCTURE;
        default:
            return -FDT_ERR_INTERNAL;
        }
    }
}
