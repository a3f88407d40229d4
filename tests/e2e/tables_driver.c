/* Prints the tables of settings for test_faults.py, a line for each attribute of each class: class, attribute, kind, least, most, words,
 * separated by tabs. */
#include <inttypes.h>
#include <stdio.h>

#include "src/config/attributes.h"

int main(void)
{
    static const char *const kinds[] = {
        [KIND_BOOLEAN] = "boolean", [KIND_NUMBER] = "number", [KIND_AMOUNT] = "number", [KIND_FLAG] = "boolean", [KIND_WORD] = "word",
        [KIND_TEXT] = "text",       [KIND_TEXTS] = "texts",   [KIND_NAMES] = "texts",   [KIND_DN] = "dn",        [KIND_DNS] = "dns",
        [KIND_TIME] = "time",
    };
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        for (size_t j = 0; j < object_classes[i].rule_count; j++) {
            const struct attribute_rule *rule = &object_classes[i].rules[j];
            int value;
            const char *word;
            printf("%s\t%s\t%s\t%" PRIu64 "\t%" PRIu64 "\t", object_classes[i].name, rule->name, kinds[rule->kind], rule->min, rule->max);
            for (size_t k = 0; rule->words != NULL && (word = word_at(rule->words, k, &value)) != NULL; k++)
                printf("%s%s", k > 0 ? " " : "", word);
            putchar('\n');
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
