/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connection tracking of IPv4. */
#pragma once

#include "ct.h"

#include "family4.h"
#include "ct_family.h"
