/* symbols.c - names for addresses of code.
 *
 * dladdr() knows only what a file exports, which of a program is nearly
 * nothing, and takes the loader's lock, which may be held by the very thread
 * that is looked at. So this reads /proc/self/maps, and the symbol table of
 * the file that an address lies in: the full one if it has not been stripped,
 * else that of the loader.
 *
 * A file may have been replaced since it was loaded, by an upgrade: it is
 * believed only if its first bytes are those in memory. All offsets in a file
 * are checked before they are followed. Files stay mapped, and the places that
 * were found are kept, until the end of the report. */
#include "look/symbols.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/platform.h"

#if COIR__HAVE_VALGRIND
#include <valgrind/memcheck.h>
#endif

enum {
    PATH_SIZE = 512,
    LINE_SIZE = PATH_SIZE + 128,
    FILES = 128,
    RANGES = 512,
    FOUND = 256 /* a power of two */
};

typedef struct file {
    const char *start; /* where its first bytes are mapped; NULL: nowhere */
    const char *image; /* the file itself; NULL: not read */
    size_t size;
    int tried;
    char path[PATH_SIZE];
} file;

typedef struct range {
    uintptr_t low, high;
    uint64_t offset; /* in the file */
    file *file;
} range;

struct coir__symbols {
    unsigned file_count, range_count;
    struct {
        const void *address;
        coir__place place;
    } found[FOUND];
    range ranges[RANGES];
    file files[FILES];
};

/* --- what is mapped ------------------------------------------------------ */

/* The mappings of a file follow each other. */
static file *
file_of(coir__symbols *s, const char *path)
{
    if (s->file_count > 0) {
        file *last = &s->files[s->file_count - 1];
        if (strcmp(last->path, path) == 0)
            return last;
    }
    if (s->file_count == FILES || strlen(path) >= PATH_SIZE)
        return NULL;
    file *f = &s->files[s->file_count++];
    memcpy(f->path, path, strlen(path) + 1);
    return f;
}

/* One line: "low-high rwxp offset device inode path". */
static void
add_line(coir__symbols *s, const char *line)
{
    uintptr_t low, high;
    uint64_t offset;
    char rights[5];
    int path_at = 0;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %*s %*s %n",
               &low, &high, rights, &offset, &path_at) < 4 ||
        path_at == 0 || line[path_at] == '\0')
        return;
    file *f = file_of(s, line + path_at);
    if (f == NULL)
        return;
    if (offset == 0 && f->start == NULL && rights[0] == 'r')
        f->start = (const char *)low;
    if (rights[2] == 'x' && s->range_count < RANGES)
        s->ranges[s->range_count++] = (range){low, high, offset, f};
}

/* Without stdio, whose buffers would come from malloc(). */
static void
read_maps(coir__symbols *s)
{
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char line[LINE_SIZE];
    size_t len = 0;
    int skip = 0; /* the rest of a line that is too long */
    for (;;) {
        ssize_t n = read(fd, line + len, sizeof line - 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
        const char *from = line;
        char *end;
        while ((end = memchr(from, '\n', len)) != NULL) {
            *end = '\0';
            if (!skip)
                add_line(s, from);
            skip = 0;
            len -= (size_t)(end + 1 - from);
            from = end + 1;
        }
        if (len == sizeof line - 1) {
            skip = 1;
            len = 0;
        }
        memmove(line, from, len);
    }
    (void)close(fd);
}

coir__symbols *
coir__symbols_new(void)
{
    coir__symbols *s = coir_calloc(1, sizeof *s);
    if (s != NULL)
        read_maps(s);
    return s;
}

void
coir__symbols_free(coir__symbols *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->file_count; i++)
        if (s->files[i].image != NULL)
            (void)munmap((void *)(uintptr_t)s->files[i].image,
                         s->files[i].size);
    coir_free(s);
}

/* --- one file ------------------------------------------------------------ */

/* `size` bytes at `offset`, NULL if the file has no such place. */
static const void *
at(const file *f, uint64_t offset, uint64_t size)
{
    return offset <= f->size && size <= f->size - offset ? f->image + offset
                                                         : NULL;
}

static const ElfW(Ehdr) * elf_header(const file *f)
{
    return at(f, 0, sizeof(ElfW(Ehdr)));
}

/* Of valgrind itself, which does not like to be looked at? */
static int
is_hidden(const file *f)
{
#if COIR__HAVE_VALGRIND
    enum { UNADDRESSABLE = 3 };
    char bits[sizeof(ElfW(Ehdr))];
    return VALGRIND_GET_VBITS(f->start, bits, sizeof bits) == UNADDRESSABLE;
#else
    (void)f;
    return 0;
#endif
}

static int
is_what_was_loaded(const file *f)
{
    const ElfW(Ehdr) *header = elf_header(f);
    return header != NULL && f->start != NULL && !is_hidden(f) &&
           memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
           header->e_ident[EI_CLASS] ==
               (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
           memcmp(f->image, f->start, sizeof *header) == 0;
}

static void
read_file(file *f)
{
    f->tried = 1;
    if (f->path[0] != '/')
        return;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        f->size = (size_t)st.st_size;
        void *image = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (image != MAP_FAILED) {
            f->image = image;
            if (!is_what_was_loaded(f)) {
                (void)munmap(image, f->size);
                f->image = NULL;
            }
        }
    }
    (void)close(fd);
}

/* From a place in the file to the address that its symbols are given in. 0:
 * there is none. */
static uintptr_t
address_of(const file *f, uint64_t offset)
{
    const ElfW(Ehdr) *header = elf_header(f);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *p = at(
            f, header->e_phoff + (uint64_t)i * header->e_phentsize, sizeof *p);
        if (p != NULL && p->p_type == PT_LOAD && offset >= p->p_offset &&
            offset - p->p_offset < p->p_filesz)
            return (uintptr_t)(offset - p->p_offset + p->p_vaddr);
    }
    return 0;
}

static const ElfW(Shdr) * section(const file *f, uint64_t index)
{
    const ElfW(Ehdr) *header = elf_header(f);
    if (index >= header->e_shnum || header->e_shentsize < sizeof(ElfW(Shdr)))
        return NULL;
    return at(f, header->e_shoff + index * header->e_shentsize,
              sizeof(ElfW(Shdr)));
}

static const ElfW(Shdr) * symbol_table(const file *f)
{
    const ElfW(Shdr) *exported = NULL;
    const ElfW(Shdr) * s;
    for (unsigned i = 0; (s = section(f, i)) != NULL; i++) {
        if (s->sh_type == SHT_SYMTAB)
            return s;
        if (s->sh_type == SHT_DYNSYM)
            exported = s;
    }
    return exported;
}

/* A string of a string table, if it ends in there. */
static const char *
string(const file *f, const ElfW(Shdr) * table, uint64_t offset)
{
    if (offset >= table->sh_size)
        return NULL;
    size_t most = (size_t)(table->sh_size - offset);
    const char *text = at(f, table->sh_offset + offset, most);
    return text != NULL && memchr(text, '\0', most) != NULL ? text : NULL;
}

/* The name of the function or variable (`type`) that an address of the file
 * lies in, and where in it. */
static const char *
symbol_at(const file *f, int type, uintptr_t address, size_t *offset)
{
    const ElfW(Shdr) *table = symbol_table(f);
    if (table == NULL)
        return NULL;
    const ElfW(Shdr) *strings = section(f, table->sh_link);
    const ElfW(Sym) *symbols = at(f, table->sh_offset, table->sh_size);
    if (strings == NULL || symbols == NULL ||
        (uintptr_t)symbols % _Alignof(ElfW(Sym)) != 0)
        return NULL;
    for (size_t i = 0; i < table->sh_size / sizeof *symbols; i++) {
        const ElfW(Sym) *symbol = &symbols[i];
        if (ELF64_ST_TYPE(symbol->st_info) == type &&
            symbol->st_shndx != SHN_UNDEF && address >= symbol->st_value &&
            address - symbol->st_value < symbol->st_size) {
            *offset = (size_t)(address - symbol->st_value);
            return string(f, strings, symbol->st_name);
        }
    }
    return NULL;
}

/* The address in the file of what is at `address` in memory, if it is of that
 * file, which is mapped from its start on; else 0. */
static uintptr_t
address_in(const file *f, uintptr_t address)
{
    const ElfW(Ehdr) *header = elf_header(f);
    uintptr_t difference = 0;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const ElfW(Phdr) *p = at(
            f, header->e_phoff + (uint64_t)i * header->e_phentsize, sizeof *p);
        if (p == NULL || p->p_type != PT_LOAD)
            continue;
        if (p->p_offset == 0)
            difference = (uintptr_t)f->start - p->p_vaddr;
        if (address - difference >= p->p_vaddr &&
            address - difference - p->p_vaddr < p->p_memsz)
            return address - difference;
    }
    return 0;
}

/* --- finding ------------------------------------------------------------- */

static coir__place
find(coir__symbols *s, uintptr_t address)
{
    coir__place place = {NULL, 0, NULL, address};
    for (unsigned i = 0; i < s->range_count; i++) {
        const range *r = &s->ranges[i];
        if (address < r->low || address >= r->high)
            continue;
        file *f = r->file;
        const char *slash = strrchr(f->path, '/');
        place.file = slash != NULL ? slash + 1 : f->path;
        place.address = (uintptr_t)(address - r->low + r->offset);
        if (!f->tried)
            read_file(f);
        if (f->image != NULL) {
            place.address = address_of(f, place.address);
            place.function =
                symbol_at(f, STT_FUNC, place.address, &place.offset);
        }
        break;
    }
    return place;
}

coir__place
coir__symbols_find(coir__symbols *s, const void *address)
{
    if (s == NULL)
        return (coir__place){NULL, 0, NULL, (uintptr_t)address};
    unsigned slot =
        (unsigned)((uintptr_t)address * 0x9E3779B1U >> 8) & (FOUND - 1);
    if (s->found[slot].address != address) {
        s->found[slot].address = address;
        s->found[slot].place = find(s, (uintptr_t)address);
    }
    return s->found[slot].place;
}

const char *
coir__symbols_find_variable(coir__symbols *s, const void *address,
                            size_t *offset)
{
    for (unsigned i = 0; s != NULL && i < s->file_count; i++) {
        file *f = &s->files[i];
        if (f->start == NULL || f->start > (const char *)address)
            continue;
        if (!f->tried)
            read_file(f);
        uintptr_t at =
            f->image != NULL ? address_in(f, (uintptr_t)address) : 0;
        const char *name =
            at != 0 ? symbol_at(f, STT_OBJECT, at, offset) : NULL;
        if (name != NULL)
            return name;
    }
    return NULL;
}
