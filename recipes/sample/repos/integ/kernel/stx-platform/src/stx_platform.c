// SPDX-License-Identifier: GPL-2.0-only
/* Shows the kernel release and its kind of scheduling in /proc/stx_platform. */
#include <generated/utsrelease.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>

static int stx_platform_show(struct seq_file *file, void *unused)
{
	seq_printf(file, "%s %s\n", UTS_RELEASE,
		   IS_ENABLED(CONFIG_PREEMPT_RT) ? "real-time" : "standard");
	return 0;
}

static int __init stx_platform_init(void)
{
	if (!proc_create_single("stx_platform", 0444, NULL, stx_platform_show))
		return -ENOMEM;
	return 0;
}

static void __exit stx_platform_exit(void)
{
	remove_proc_entry("stx_platform", NULL);
}

module_init(stx_platform_init);
module_exit(stx_platform_exit);

MODULE_AUTHOR("StarlingX Sample");
MODULE_DESCRIPTION("Shows the kernel release and its kind of scheduling");
MODULE_LICENSE("GPL v2");
MODULE_VERSION("1.0");
