/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connection tracking of IPv6. */
#pragma once

#include "ct.h"
#include "ipv6.h"

#include "family6.h"
#include "ct_family.h"
